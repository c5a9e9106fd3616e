/*
 * otagate: is there firmware for this device? 401, 404, 304, or serve exactly this artifact.
 *
 *     fleet --> reader (one per thread) --> decide(check-in, now) --> decision --> offer, effect
 *           ledger: what was offered   -->  attend(check-in, now) --> decision --> offer, and what comes after it
 *     or a store of your own, by callbacks
 *
 * Generated from bindings/c; do not edit. What a decision means is in the project's semantics: V, S, W, R, L
 * and question numbers below are its rules.
 *
 *     otagate_fleet *fleet;
 *     otagate_reader *reader;
 *     otagate_check_in check_in = otagate_check_in_init();
 *     otagate_decision decision = otagate_decision_init();
 *     code = otagate_fleet_new(json, strlen(json), &fleet);           (once; then for each thread)
 *     code = otagate_reader_new(fleet, &reader);                      (and for each check-in)
 *     check_in.key = otagate_text_of("secret"), check_in.serial = ..., check_in.version = ...;
 *     code = otagate_reader_decide(reader, &check_in, now_millis, &decision);
 *     if (code == OTAGATE_OK) the answer is decision.status: 200, 304, 401 or 404; else nothing is to be served.
 *
 * The rules of this interface:
 *
 * - Results. Every function that can fail gives a code, OTAGATE_OK or OTAGATE_ERROR_...; the words are in
 *   otagate_last_error(). A verdict is a result, not an error: 401 comes with OTAGATE_OK. On an error every
 *   out-parameter that can be written says "deny", "none" or NULL, before anything else is looked at.
 * - Handles (otagate_fleet, otagate_reader, otagate_store, otagate_ledger, otagate_after, otagate_string) are
 *   made by a function of this library and freed by their _free, which takes NULL. Shared ones have a _clone;
 *   what hangs on them lives until the last is freed.
 * - Bytes go in as pointer and length, and are never assumed to be UTF-8 unless the text says so. NULL with
 *   length 0 is empty. What goes in is copied or read before the function returns: nothing of the caller's is
 *   kept.
 * - Texts that come out in structs belong to the reader: they live until its next decision (decide,
 *   decide_many, attend, identify, report), or its end. They are UTF-8 without a NUL behind them. Copy what has
 *   to live longer, and what goes into a check-in again.
 * - Structs begin with struct_size. Initialise them by their otagate_..._init(); they only grow at the end, and
 *   a size that the library does not know is refused before anything else of the struct is touched.
 * - Times are milliseconds since 1970-01-01T00:00:00Z, and always passed in: the library reads no clock.
 * - Threads: fleets, stores and ledgers may be used by all at once; a reader by one at a time.
 * - No panic leaves the library, and nothing is printed but the message of one, to stderr. No signal handler,
 *   locale, hook or environment of the process is touched. Where memory runs out the process ends. Nothing may
 *   be called from a signal handler. After a fork the child may use what no other thread was using at that
 *   moment.
 * - Numbers never change their meaning; new ones may come.
 *
 * At each function: what it does; "Owns", whose what is; "NULL", where it is allowed; "Threads", from where it
 * may be called; "Errors", without their OTAGATE_ERROR_, to which OTAGATE_ERROR_PANIC comes everywhere;
 * "Since", the version that brought it.
 */

#ifndef OTAGATE_H
#define OTAGATE_H
