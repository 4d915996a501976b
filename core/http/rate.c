/* Token buckets of client addresses. See rate.h. Home loop.
 *
 * A bucket is one number: the moment at which it will be full again (the virtual scheduling form of
 * the generic cell rate algorithm, ITU-T I.371). Taking a token moves that moment on by what a
 * token takes to come back, and there are tokens enough while it is no further ahead than a whole
 * burst takes. So a bucket that is full is one whose moment has passed: it says nothing, and its
 * place is free.
 *
 * The table is set associative: an address has WAYS places. When none is free, the bucket that will
 * be full first goes, and its address starts anew: a stranger with many addresses can loosen the
 * bound, but not make the table grow or shut anybody out. */
#include "rate.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <longpoll/status.h>

#define SETS 4096
#define WAYS 16

/* Sums of reals: a burst must not lose its last token to rounding. */
#define TOLERANCE_MS 0.001

typedef struct bucket {
    uint64_t address;
    double full_ms;
} bucket;

struct lp__rate {
    double token_ms; /* one token takes so long to come back */
    double burst;
    uint64_t seed[2];
    bucket sets[SETS][WAYS]; /* zeroed pages cost nothing before they are used */
};

int lp__rate_new(int64_t per_second, int64_t burst, lp__rate **out)
{
    lp__rate *rate = calloc(1, sizeof(*rate));
    *out = rate;
    if (!rate)
        return LP_ENOMEM;
    rate->token_ms = 1000.0 / (double)per_second;
    rate->burst = (double)burst;
    /* without random bytes the places can be foretold, which is a nuisance and no more */
    if (getrandom(rate->seed, sizeof(rate->seed), GRND_NONBLOCK) < 0)
        rate->seed[0] = (uint64_t)(uintptr_t)rate;
    return LP_OK;
}

void lp__rate_free(lp__rate *rate)
{
    free(rate);
}

static uint64_t read_bytes(const uint8_t *bytes, size_t count)
{
    uint64_t number = 0;
    for (size_t i = 0; i < count; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* The first half of an address of IPv6. The numbers of IPv4 are those of networks that are reserved
 * there (RFC 4291, 2.4); what has no address of a network (a socket of the file system) is one. */
static uint64_t number_of(const struct sockaddr *address)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const uint64_t v4 = (uint64_t)1 << 32;
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof(in));
        return v4 | ntohl(in.sin_addr.s_addr);
    }
    if (address->sa_family != AF_INET6)
        return UINT64_MAX;
    struct sockaddr_in6 in6;
    memcpy(&in6, address, sizeof(in6));
    const uint8_t *bytes = in6.sin6_addr.s6_addr;
    if (memcmp(bytes, mapped, sizeof(mapped)) == 0)
        return v4 | read_bytes(bytes + sizeof(mapped), 4);
    return read_bytes(bytes, 8);
}

/* The finalizer of MurmurHash3 over a number and a secret. */
static uint64_t mix(uint64_t number, uint64_t secret)
{
    number ^= secret;
    number = (number ^ number >> 33) * 0xff51afd7ed558ccdu;
    number = (number ^ number >> 33) * 0xc4ceb9fe1a85ec53u;
    return number ^ number >> 33;
}

/* The bucket of an address, else the place that it takes: the one that is full first. */
static bucket *find(lp__rate *rate, uint64_t address)
{
    bucket *set = rate->sets[mix(mix(address, rate->seed[0]), rate->seed[1]) % SETS];
    bucket *first = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].address == address && set[i].full_ms > 0)
            return &set[i];
        if (set[i].full_ms < first->full_ms)
            first = &set[i];
    }
    *first = (bucket){.address = address};
    return first;
}

uint64_t lp__rate_take(lp__rate *rate, const struct sockaddr *address, int64_t count,
                       uint64_t now_ms)
{
    bucket *own = find(rate, number_of(address));
    double now = (double)now_ms, tokens = (double)count < rate->burst ? (double)count : rate->burst;
    double full = (own->full_ms > now ? own->full_ms : now) + tokens * rate->token_ms;
    double missing_ms = full - now - rate->burst * rate->token_ms;
    if (missing_ms > TOLERANCE_MS)
        return (uint64_t)missing_ms + 1;
    own->full_ms = full;
    return 0;
}
