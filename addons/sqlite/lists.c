/* Table horizon_list: one row for the horizons of a batch that brings many. See ../shared/lists.h.
 */
#include "inside.h"

#include <stdlib.h>

/* On a full disk rows that are there already are changed instead. */
static bool is_scarce(const lp__sqlite *self)
{
    return self->wal_limit < LP__SQLITE_WAL_PAGES;
}

bool lp__lists_suit(const lp__sqlite *self, const lp_batch *batch)
{
    return lp_batch_horizon_count(batch) >= LP__LIST_MIN && !is_scarce(self);
}

bool lp__lists_can_empty(const lp__sqlite *self)
{
    return self->lists.entries > 0 && !is_scarce(self);
}

int lp__lists_put(lp__sqlite *self, const lp_batch *batch)
{
    size_t count = lp_batch_horizon_count(batch), size = 0;
    for (size_t i = 0; i < count; i++)
        size += LP__LIST_ENTRY + lp_batch_horizon(batch, i).category.len;
    char *list = malloc(size), *at = list;
    if (list == NULL)
        return lp__sqlite_problem(self, LP_ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        if (horizon.category.len != 0)
            at = lp__list_put(at, horizon.category, horizon.seq);
    }
    int status = lp__put_list(self, (lp_str){list, (size_t)(at - list)});
    free(list);
    return status;
}

static int note(void *ctx, lp_str category, uint64_t seq)
{
    lp__lists_note(ctx, category, seq);
    return LP_OK;
}

int lp__lists_learn(lp__sqlite *self)
{
    const lp__small each = {.ctx = &self->lists, .horizon = note};
    uint64_t bad = 0;
    bool damaged = false;
    lp__lists_forget(&self->lists);
    int status = lp__lists_read(self, self->db, &each, &bad, &damaged);
    if (status != LP_OK)
        self->lists.is_unknown = true;
    else if (self->lists.is_unknown)
        status = lp__sqlite_problem(self, LP_ENOMEM, "out of memory");
    return status;
}

int lp__lists_empty(lp__sqlite *self)
{
    const lp__categories *newest = &self->lists.newest;
    int status = self->lists.is_unknown ? lp__lists_learn(self) : LP_OK;
    for (size_t i = 0; status == LP_OK && i < newest->capacity; i++) {
        const lp__category *each = newest->slots[i];
        if (each == NULL)
            continue;
        /* The floor may have reached it while it was in a list. */
        self->sweep = self->sweep || each->seq <= self->floor;
        status = lp__put_horizon(self, self->statements[LP__RAISE_HORIZON],
                                 (lp_str){each->text, each->len}, each->seq);
    }
    return status == LP_OK ? lp__db_run(self, LP__DROP_LISTS) : status;
}

uint64_t lp__lists_count(lp__sqlite *self)
{
    const lp__categories *newest = &self->lists.newest;
    sqlite3_stmt *find = NULL;
    uint64_t count = 0;
    if (sqlite3_prepare_v2(self->db, "SELECT 1 FROM horizon WHERE category = ?1", -1, &find,
                           NULL) != SQLITE_OK)
        return 0;
    for (size_t i = 0; i < newest->capacity; i++) {
        const lp__category *each = newest->slots[i];
        if (each == NULL)
            continue;
        sqlite3_bind_text64(find, 1, each->text, each->len, SQLITE_STATIC, SQLITE_UTF8);
        count += sqlite3_step(find) != SQLITE_ROW;
        sqlite3_reset(find);
    }
    sqlite3_finalize(find);
    return count;
}
