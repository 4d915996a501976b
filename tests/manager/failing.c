/* See failing.h. */
#include "failing.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static atomic_long allocations, fail_from = -1, fail_to = -1;
static _Thread_local bool fails_next, is_spared;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strdup(const char *text);

static bool fails(void)
{
    if (is_spared)
        return false;
    if (fails_next) {
        fails_next = false;
        return true;
    }
    long number = atomic_fetch_add(&allocations, 1);
    return number >= atomic_load(&fail_from) && number < atomic_load(&fail_to);
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? NULL : __real_realloc(memory, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

void failing_begin(long from, long count)
{
    atomic_store(&allocations, 0);
    atomic_store(&fail_from, from);
    atomic_store(&fail_to, count > 0 ? from + count : INT32_MAX);
}

void failing_end(void)
{
    atomic_store(&fail_from, -1);
    atomic_store(&fail_to, -1);
}

long failing_counted(void)
{
    return atomic_load(&allocations);
}

void failing_next_here(void)
{
    fails_next = true;
}

void failing_spare_here(int spare)
{
    is_spared = spare;
}

long failing_from(void)
{
    return atomic_load(&fail_from);
}
