/* How fast each client address may publish: a token bucket for every address, in a table of fixed
 * size. An address is an IPv4 address or the /64 network of an IPv6 address, which is what one
 * subscriber gets.
 *
 * Keeps no clock: time is passed in, and never goes back. One thread at a time. */
#ifndef LP_HTTP_RATE_H
#define LP_HTTP_RATE_H

#include <stdint.h>
#include <sys/socket.h>

typedef struct lp__rate lp__rate;

/* `per_second` and `burst` are at least 1. LP_ENOMEM. */
int lp__rate_new(int64_t per_second, int64_t burst, lp__rate **out);
void lp__rate_free(lp__rate *rate); /* NULL is fine */

/* Takes `count` tokens from the bucket of an address, or all that a bucket holds if that is less.
 * Returns 0; or, when they are not there, in how many milliseconds they will be, and takes none. */
uint64_t lp__rate_take(lp__rate *rate, const struct sockaddr *address, int64_t count,
                       uint64_t now_ms);

#endif
