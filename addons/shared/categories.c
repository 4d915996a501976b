/* See categories.h. Open addressing, at most half full. */
#include "categories.h"

#include <stdlib.h>
#include <string.h>

#include "crc32c.h"

void lp__categories_free(lp__categories *categories)
{
    for (size_t i = 0; i < categories->capacity; i++)
        free(categories->slots[i]);
    free(categories->slots);
    *categories = (lp__categories){0};
}

/* The slot that holds it, or the empty one where it would go. */
static lp__category **slot_of(lp__category **slots, size_t capacity, lp_str category)
{
    size_t i = lp__crc32c(0, category.base, category.len) & (capacity - 1);
    while (slots[i] != NULL && (slots[i]->len != category.len ||
                                memcmp(slots[i]->text, category.base, category.len) != 0))
        i = (i + 1) & (capacity - 1);
    return &slots[i];
}

static int grow(lp__categories *categories)
{
    size_t capacity = categories->capacity == 0 ? 64 : categories->capacity * 2;
    lp__category **slots = calloc(capacity, sizeof(lp__category *));
    if (slots == NULL)
        return LP_ENOMEM;
    for (size_t i = 0; i < categories->capacity; i++) {
        lp__category *entry = categories->slots[i];
        if (entry != NULL)
            *slot_of(slots, capacity, (lp_str){entry->text, entry->len}) = entry;
    }
    free(categories->slots);
    categories->slots = slots;
    categories->capacity = capacity;
    return LP_OK;
}

int lp__categories_put(lp__categories *categories, lp_str category, uint64_t seq)
{
    if (2 * categories->count >= categories->capacity && grow(categories) != LP_OK)
        return LP_ENOMEM;
    lp__category **slot = slot_of(categories->slots, categories->capacity, category);
    if (*slot == NULL) {
        lp__category *entry = malloc(sizeof(*entry) + category.len);
        if (entry == NULL)
            return LP_ENOMEM;
        entry->seq = seq;
        entry->len = category.len;
        memcpy(entry->text, category.base, category.len);
        *slot = entry;
        categories->count++;
    }
    if (seq > (*slot)->seq)
        (*slot)->seq = seq;
    if (seq > categories->newest)
        categories->newest = seq;
    return LP_OK;
}

uint64_t lp__categories_find(const lp__categories *categories, lp_str category)
{
    if (categories->capacity == 0)
        return 0;
    lp__category *const *slot = slot_of(categories->slots, categories->capacity, category);
    return *slot != NULL ? (*slot)->seq : 0;
}
