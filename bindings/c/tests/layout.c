/* The header's structs are laid out as layout.h says. There is nothing to run: it compiles, or it does not. C11, for _Static_assert. */
#include <stddef.h>

#include "otagate.h"

_Static_assert(sizeof(void *) == 8, "layout.h speaks of 64-bit machines");

#define OTAGATE_LAYOUT_STRUCT(type, size) _Static_assert(sizeof(type) == (size), "the size of " #type);
#define OTAGATE_LAYOUT_FIELD(type, field, offset, size)                                                                \
    _Static_assert(offsetof(type, field) == (offset), "the place of " #type "." #field);                               \
    _Static_assert(sizeof(((type *)NULL)->field) == (size), "the size of " #type "." #field);
#include "layout.h"

int main(void) {
    return 0;
}
