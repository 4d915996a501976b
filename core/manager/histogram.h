/* Counting durations by their length. */
#ifndef LP_HISTOGRAM_H
#define LP_HISTOGRAM_H

#include <longpoll/manager.h>

void lp__histogram_add(lp_histogram *histogram, uint64_t us);
void lp__histogram_merge(lp_histogram *to, const lp_histogram *from);

#endif
