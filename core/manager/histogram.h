/* Counting durations by their length. Home loop. */
#ifndef LP_HISTOGRAM_H
#define LP_HISTOGRAM_H

#include <longpoll/manager.h>

void lp__histogram_add(lp_histogram *histogram, uint64_t us);

#endif
