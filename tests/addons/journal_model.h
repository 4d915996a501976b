/* A publisher with rings, and what a journal must give back of what it was told. The rings are
 * small, so that most of what is written dies soon and compaction has work. One thread. */
#ifndef JOURNAL_MODEL_H
#define JOURNAL_MODEL_H

#include "journal_kit.h"

enum { JM_EVENTS = 65536, JM_RING = 3, JM_KEYS = 64, JM_PENDING = 512 };

typedef enum jm_state {
    JM_NONE,   /* never published */
    JM_LIVE,   /* acknowledged */
    JM_FAILED, /* answered as failed */
    JM_FLYING, /* in the batch that is being kept, or in one that ended in doubt */
    JM_GONE    /* its removal was acknowledged */
} jm_state;

typedef struct jm_model {
    uint64_t random;
    uint64_t next; /* the number of the next event */
    uint8_t state[JM_EVENTS];
    uint8_t is_going[JM_EVENTS]; /* its removal is in the batch that is being kept */
    uint64_t ring[JK_CATEGORIES][JM_RING];
    size_t ring_count[JK_CATEGORIES];
    /* told with every batch until one is kept */
    lp_removal removals[JM_PENDING];
    size_t removal_count;
    uint64_t horizons[JK_CATEGORIES]; /* wanted; numbers */
    uint64_t kept_horizons[JK_CATEGORIES], flying_horizons[JK_CATEGORIES];
    uint64_t keys; /* acknowledged: "k0".. */
    bool is_key_flying;
    uint64_t highest, floor;
    bool has_doubt, is_flying;
} jm_model;

void jm_init(jm_model *model, uint64_t seed);

/* Publishes one batch. Returns its status. */
int jm_step(jm_model *model, lp_store *store);

/* What came back, after a restart: settles what was flying, and forgets what was lost if a loss was
 * told. */
void jm_adopt(jm_model *model, const jk_content *content);

/* Whether a start gave back what it must: everything acknowledged and not removed, nothing that
 * failed or was removed, and of what was flying all or nothing. With `may_lose`, acknowledged
 * changes may be missing if a loss was told. The reason goes to `why`, of 256 bytes. */
bool jm_verify(const jm_model *model, const jk_content *content, bool may_lose, char *why);

uint64_t jm_random(jm_model *model, uint64_t below);

#endif
