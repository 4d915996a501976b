/* How an event comes to be: prepared with all its memory on any thread, stamped by the engine,
 * immutable from there on. Only the engine and the manager use this; everyone else uses
 * <longpoll/event.h>. */
#ifndef LP_EVENT_PREPARE_H
#define LP_EVENT_PREPARE_H

#include <longpoll/event.h>

#include "block.h"

/* Checks category and size (not the JSON) and makes an event without an id. LP_EINVAL, LP_ETOOBIG,
 * LP_ENOMEM. */
int lp__event_prepare(lp_str category, lp_str data, lp_event **out);

/* The same with memory of `*block` where that is to be had; NULL: of malloc alone. */
int lp__event_prepare_in(lp__block **block, lp_str category, lp_str data, lp_event **out);

/* Gives the event its id and completes its wire text. Once. */
void lp__event_stamp(lp_event *event, uint64_t seq, uint64_t random);

/* The random bits, as lp_id_make takes them, of the id that lp_id_format wrote there. */
uint64_t lp__id_read_random(const char *text);

/* When it became visible, in the low bits of lp__now.mono_us; 0: not known. Home loop only. */
void lp__event_set_visible(lp_event *event, uint32_t mono_us);
uint32_t lp__event_visible_us(const lp_event *event);

/* All the memory that it takes. */
size_t lp__event_bytes(const lp_event *event);

#endif
