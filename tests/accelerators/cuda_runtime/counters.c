/* The counters, and how a test reads them: their names and values, and a reset. */
#include "stand_in.h"
#include <stdatomic.h>

static _Atomic int64_t values[num_counters];

void count(enum counter which, int64_t by) { atomic_fetch_add(&values[which], by); }

/* Names separated by spaces, in the order of the values. */
const char *stand_in_names(void) {
#define AS_TEXT(name) #name " "
    return COUNTERS(AS_TEXT);
#undef AS_TEXT
}

void stand_in_read(int64_t *into) {
    for (int which = 0; which < num_counters; which++) into[which] = atomic_load(&values[which]);
}

void stand_in_reset(void) {
    for (int which = 0; which < num_counters; which++)
        if (which != live_bytes) atomic_store(&values[which], 0);
}

/* Called by the stand-ins for the libraries of products. */
void stand_in_product(void) {
    if (!is_capturing()) count(products, 1);
}
