/* A program that knows of the library only what is installed. */
#include "fleet.h"
#include <otagate.h>
#include <stdio.h>

int main(void) {
    otagate_fleet *fleet = NULL;
    otagate_reader *reader = NULL;
    otagate_check_in check_in = otagate_check_in_init();
    otagate_decision decision = otagate_decision_init();
    otagate_offer offer = otagate_offer_init();
    int served;

    check_in.key = otagate_text_of("secret");
    check_in.serial = otagate_text_of("A4:CF:12:34:56:78");
    check_in.version = otagate_text_of("1.9.0");
    served = otagate_fleet_new(FLEET, sizeof FLEET - 1, &fleet) == OTAGATE_OK &&
             otagate_reader_new(fleet, &reader) == OTAGATE_OK &&
             otagate_reader_decide(reader, &check_in, NOW, &decision) == OTAGATE_OK &&
             otagate_reader_offer(reader, &offer) == OTAGATE_OK;
    printf("%d %.*s by %s\n", (int)decision.status, (int)offer.locator.len, offer.locator.data, otagate_version());
    otagate_reader_free(reader);
    otagate_fleet_free(fleet);
    return !served;
}
