/* See lists.h. */
#include "lists.h"

#include <string.h>

#include "bytes.h"

/* They are emptied when each of their categories is in them so often; */
enum { REPEATS = 16, ENTRIES_MIN = 1024 };
/* or where that would not come soon: a transaction should not last long, nor the file grow. */
enum { CATEGORIES_MAX = 2000, BYTES_MAX = 1 << 20 };

void lp__lists_note(lp__lists *lists, lp_str category, uint64_t seq)
{
    if (lp__categories_put(&lists->newest, category, seq) != LP_OK)
        lists->is_unknown = true;
    lists->entries++;
    lists->bytes += LP__LIST_ENTRY + category.len;
}

void lp__lists_note_batch(lp__lists *lists, const lp_batch *batch)
{
    for (size_t i = 0, count = lp_batch_horizon_count(batch); i < count; i++) {
        lp_horizon horizon = lp_batch_horizon(batch, i);
        if (horizon.category.len != 0)
            lp__lists_note(lists, horizon.category, horizon.seq);
    }
}

bool lp__lists_are_due(const lp__lists *lists)
{
    size_t categories = lists->newest.count;
    return lists->bytes >= BYTES_MAX || categories >= CATEGORIES_MAX ||
           (lists->entries >= ENTRIES_MIN && lists->entries >= REPEATS * categories);
}

void lp__lists_forget(lp__lists *lists)
{
    lp__categories_free(&lists->newest);
    *lists = (lp__lists){0};
}

char *lp__list_put(char *at, lp_str category, uint64_t seq)
{
    lp__put_le64(at, seq);
    lp__put_le16(at + 8, (uint16_t)category.len);
    memcpy(at + LP__LIST_ENTRY, category.base, category.len);
    return at + LP__LIST_ENTRY + category.len;
}

int lp__list_read(lp_str list, lp__list_visit visit, void *ctx)
{
    const char *at = list.base, *end = list.base + list.len;
    int status = LP_OK;
    while (status == LP_OK && end - at >= LP__LIST_ENTRY) {
        uint64_t seq = lp__get_le64(at);
        size_t len = lp__get_le16(at + 8);
        at += LP__LIST_ENTRY;
        if (len == 0 || len > (size_t)(end - at))
            return LP_EDAMAGED;
        status = visit(ctx, (lp_str){at, len}, seq);
        at += len;
    }
    return status != LP_OK || at == end ? status : LP_EDAMAGED;
}
