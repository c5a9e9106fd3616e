// The same as main.c, by otagate.hpp.
#include "fleet.h"
#include <iostream>
#include <otagate.hpp>

int main() {
    otagate::fleet fleet(FLEET);
    otagate::reader reader(fleet);
    otagate::check_in check_in;
    check_in.key = "secret";
    check_in.serial = "A4:CF:12:34:56:78";
    check_in.version = "1.9.0";
    const otagate::decision told = reader.decide(check_in, NOW);
    std::cout << told.status << " " << (told.served ? told.served->locator : "") << " by " << otagate_version() << std::endl;
    return told.served ? 0 : 1;
}
