/* Events, categories and keys by their numbers, for power_cut_world.c. One thread. */
#ifndef POWER_CUT_EVENT_H
#define POWER_CUT_EVENT_H

#include "power_cut_world.h"

enum { PW_KEY_TEXT = 64 };

uint64_t pw_seq(uint64_t n);
uint64_t pw_number(uint64_t seq); /* 0: nobody's */
size_t pw_category_of(uint64_t n);
lp_str pw_category(size_t i); /* PW_CATEGORIES: the floor's */
lp_event *pw_event_of(uint64_t n);
/* `text` has PW_KEY_TEXT bytes, and the record borrows it. */
lp_idempotency pw_key(uint64_t i, pw_publication published, char *text);
int64_t pw_expiry_ms(uint64_t key);

#endif
