//! Serials that somebody chose who knows the layout and hopes for a hash without a secret.

/// Families of MACs by name.
pub(crate) fn families(devices: usize) -> Vec<(&'static str, Vec<u64>)> {
    let all = |mac: fn(u64) -> u64| (0..devices as u64).map(mac).collect();
    vec![
        ("one maker, in sequence", all(|number| 0xA4_CF12 << 24 | number)),
        ("one maker, in disorder", all(|number| 0xA4_CF12 << 24 | number.wrapping_mul(0x9E_3779) & 0xFF_FFFF)),
        ("equal low 24 bits", all(|number| number << 24 | 0x12_3456)),
        ("equal middle bits", all(|number| (number >> 10) << 38 | 0x15_5555 << 10 | number & 0x3FF)),
        ("multiples of 2^8", all(|number| (number + 1) << 8)),
        ("multiples of 2^28", all(|number| (number + 1) << 28)),
        ("equal top of FxHash, before 2.0", colliding(0x517C_C1B7_2722_0A95, devices)),
        ("equal top of FxHash", colliding(0xF135_7AEA_2E62_A9C5, devices)),
        ("equal top of Fibonacci hashing", colliding(0x9E37_79B9_7F4A_7C15, devices)),
    ]
}

/// MACs whose product with that number has twenty zeros at its top.
fn colliding(factor: u64, devices: usize) -> Vec<u64> {
    const ABOVE: i128 = 1 << 44;
    // Euclid's algorithm: in every row (mac, product) the product is factor × mac modulo 2^64, and two neighbours span
    // all such rows.
    let (mut last, mut row) = ((0_i128, 1_i128 << 64), (1_i128, i128::from(factor)));
    while row.1 >= 1 << 30 {
        let times = last.1 / row.1;
        (last, row) = (row, (last.0 - times * row.0, last.1 - times * row.1));
    }
    let sums = (0..ABOVE / last.1)
        .flat_map(|a| (0..(ABOVE - a * last.1) / row.1).map(move |b| a * last.0 + b * row.0))
        .filter(|mac| (1..(1 << 48) - 1).contains(mac));
    let macs: Vec<u64> = sums.take(devices).map(|mac| mac as u64).collect();
    assert!(macs.len() == devices && macs.iter().all(|mac| mac.wrapping_mul(factor) >> 44 == 0));
    macs
}
