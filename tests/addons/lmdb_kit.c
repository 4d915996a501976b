/* See lmdb_kit.h. */
#include "lmdb_kit.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void die(const char *what, const char *name)
{
    fprintf(stderr, "lmdb_kit: %s %s: %s\n", what, name, strerror(errno));
    abort();
}

/* ---- files ----------------------------------------------------------------------------------- */

char *lk_directory(void)
{
    const char *parent = getenv("TMPDIR");
    if (parent == NULL)
        parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char *name = malloc(4096);
    if (name == NULL)
        die("malloc", "");
    snprintf(name, 4096, "%s/lmdb-XXXXXX", parent);
    if (mkdtemp(name) == NULL)
        die("mkdtemp", name);
    return name;
}

const char *lk_path(const char *directory, const char *name)
{
    static char path[8192];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static void each_file(const char *directory, void (*each)(const char *path, void *ctx), void *ctx)
{
    DIR *dir = opendir(directory);
    if (dir == NULL)
        return;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char path[8192];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        each(path, ctx);
    }
    closedir(dir);
}

static void remove_one(const char *path, void *ctx)
{
    (void)ctx;
    unlink(path);
}

void lk_remove(const char *directory)
{
    each_file(directory, remove_one, NULL);
    rmdir(directory);
}

uint8_t *lk_read(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rbe");
    struct stat stat;
    if (file == NULL || fstat(fileno(file), &stat) != 0)
        die("open", path);
    *len = (size_t)stat.st_size;
    uint8_t *bytes = malloc(*len + 1);
    if (bytes == NULL || fread(bytes, 1, *len, file) != *len)
        die("read", path);
    fclose(file);
    return bytes;
}

void lk_write(const char *path, const void *bytes, size_t len)
{
    FILE *file = fopen(path, "wbe");
    if (file == NULL || (len > 0 && fwrite(bytes, 1, len, file) != len) || fclose(file) != 0)
        die("write", path);
}

static void copy_one(const char *path, void *ctx)
{
    char to[8192];
    size_t len;
    uint8_t *bytes = lk_read(path, &len);
    snprintf(to, sizeof(to), "%s%s", (const char *)ctx, strrchr(path, '/'));
    lk_write(to, bytes, len);
    free(bytes);
}

void lk_copy(const char *from, const char *to)
{
    lk_remove(to);
    if (mkdir(to, 0700) != 0)
        die("mkdir", to);
    each_file(from, copy_one, (void *)(uintptr_t)to);
}

struct counting {
    const char *prefix;
    size_t count;
};

static void count_one(const char *path, void *ctx)
{
    struct counting *counting = ctx;
    const char *name = strrchr(path, '/') + 1;
    counting->count += strncmp(name, counting->prefix, strlen(counting->prefix)) == 0;
}

size_t lk_count(const char *directory, const char *prefix)
{
    struct counting counting = {prefix, 0};
    each_file(directory, count_one, &counting);
    return counting.count;
}

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

static void sum_one(const char *path, void *ctx)
{
    size_t len;
    uint8_t *bytes = lk_read(path, &len);
    uint64_t hash = hash_bytes(hash_bytes(14695981039346656037u, path, strlen(path)), bytes, len);
    *(uint64_t *)ctx += hash; /* the order of names is the directory's own affair */
    free(bytes);
}

uint64_t lk_sum(const char *directory)
{
    uint64_t sum = 0;
    each_file(directory, sum_one, &sum);
    return sum;
}

/* ---- events ---------------------------------------------------------------------------------- */

const char *lk_category(uint64_t n)
{
    static const char *const names[LK_CATEGORIES] = {"a",        "b/2", "three", "4",
                                                     "\xc3\xa9", "six", "g"};
    return names[n % LK_CATEGORIES];
}

static size_t usual_len(uint64_t n)
{
    return n % 50 == 49 ? 5000 : 40 + n * 7 % 200;
}

static char *data_of(uint64_t n, size_t len)
{
    char *data = malloc(len + 1);
    if (data == NULL)
        die("malloc", "");
    for (size_t i = 0; i < len; i++)
        data[i] = (char)('a' + (n + i) % 26);
    data[0] = data[len - 1] = '"';
    return data;
}

lp_event *lk_event_of(uint64_t n, size_t data_len)
{
    lp_event *event;
    char *data = data_of(n, data_len);
    if (lp_event_new(lp_id_make(LK_SEQ(n), n * 2654435761u), lp_str_of(lk_category(n)),
                     (lp_str){data, data_len}, &event) != LP_OK)
        die("lp_event_new", "");
    free(data);
    return event;
}

lp_batch *lk_batch(void)
{
    lp_batch *batch;
    if (lp_batch_new(&batch) != LP_OK)
        die("lp_batch_new", "");
    return batch;
}

void lk_add(lp_batch *batch, uint64_t n)
{
    lp_event *event = lk_event_of(n, usual_len(n));
    if (lp_batch_add_event(batch, event) != LP_OK)
        die("lp_batch_add_event", "");
    lp_event_unref(event);
}

int lk_append(lp_store *store, uint64_t first, size_t count, lp_error *error)
{
    lp_batch *batch = lk_batch();
    for (size_t i = 0; i < count; i++)
        lk_add(batch, first + i);
    int status = lp_store_append(store, batch, error);
    lp_batch_free(batch);
    return status;
}

static void must(int status, const lp_error *error)
{
    if (status == LP_OK)
        return;
    fprintf(stderr, "lmdb_kit: %s\n", error->message);
    abort();
}

void lk_commit(lp_store *store, lp_batch *batch)
{
    lp_error error = {LP_OK, ""};
    must(lp_store_append(store, batch, &error), &error);
    lp_batch_free(batch);
}

void lk_raise_floor(lp_store *store, uint64_t n)
{
    lp_batch *batch = lk_batch();
    lp_batch_add_horizon(batch, (lp_str){"", 0}, LK_SEQ(n));
    lk_commit(store, batch);
}

/* ---- what a start pushes --------------------------------------------------------------------- */

static int take_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    lk_content *content = ctx;
    uint64_t n = lp_id_seq(id) - LK_BASE;
    const char *name = lk_category(n);
    bool is_ordered = content->count == 0 || content->events[content->count - 1] < n;
    lp_id expected = lp_id_make(LK_SEQ(n), n * 2654435761u);
    if (content->count == LK_EVENTS_MAX)
        return LP_ENOMEM;
    content->events[content->count++] = n;
    char *bytes = data_of(n, data.len);
    content->wrong +=
        !is_ordered || memcmp(&id, &expected, sizeof(id)) != 0 || category.len != strlen(name) ||
        memcmp(category.base, name, category.len) != 0 || memcmp(data.base, bytes, data.len) != 0;
    free(bytes);
    return LP_OK;
}

static int take_horizon(void *ctx, lp_str category, uint64_t seq)
{
    lk_content *content = ctx;
    if (category.len == 0) {
        content->floor = seq;
        return LP_OK;
    }
    content->horizon_count++;
    for (uint64_t i = 0; i < LK_CATEGORIES; i++)
        if (strlen(lk_category(i)) == category.len &&
            memcmp(lk_category(i), category.base, category.len) == 0 && seq > content->horizons[i])
            content->horizons[i] = seq;
    return LP_OK;
}

static int take_key(void *ctx, const lp_idempotency *record)
{
    lk_content *content = ctx;
    content->key_count++;
    content->key = *record;
    memcpy(content->key_text, record->key.base, record->key.len);
    content->key_text[record->key.len] = '\0';
    return LP_OK;
}

static int take_highest(void *ctx, uint64_t seq)
{
    ((lk_content *)ctx)->highest = seq;
    return LP_OK;
}

static int take_loss(void *ctx, uint64_t records, const char *detail)
{
    lk_content *content = ctx;
    content->losses++;
    content->lost_records += records;
    snprintf(content->loss, sizeof(content->loss), "%s", detail);
    return LP_OK;
}

bool lk_has(const lk_content *content, uint64_t n)
{
    size_t low = 0, high = content->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (content->events[middle] < n)
            low = middle + 1;
        else
            high = middle;
    }
    return low < content->count && content->events[low] == n;
}

void lk_content_free(lk_content *content)
{
    free(content->events);
    content->events = NULL;
}

/* ---- open and close -------------------------------------------------------------------------- */

lp_lmdb_options lk_options(lp_sync sync)
{
    lp_lmdb_options options = LP_LMDB_OPTIONS_INIT;
    options.sync = sync;
    return options;
}

lp_store *lk_try_open(const char *directory, const lp_lmdb_options *options,
                      const lp__lmdb_host *host, lk_content *content, lp_error *error)
{
    lp_store_sink sink = {.expired_ms = INT64_MIN};
    lp__lmdb_host real = lp__lmdb_host_real();
    lp_addon *addon;
    lp_store *store = NULL;
    if (content != NULL) {
        lk_content_free(content);
        *content = (lk_content){.events = malloc(LK_EVENTS_MAX * sizeof(uint64_t))};
        if (content->events == NULL)
            die("malloc", "");
        sink = (lp_store_sink){.ctx = content,
                               .event = take_event,
                               .horizon = take_horizon,
                               .idempotency = take_key,
                               .highest = take_highest,
                               .loss = take_loss,
                               .expired_ms = INT64_MIN};
    }
    if (lp__lmdb_new(directory, options, host != NULL ? host : &real, &addon, error) != LP_OK)
        return NULL;
    lp_store_open(addon, &sink, &store, error);
    return store;
}

lp_store *lk_open(const char *directory, const lp_lmdb_options *options, lk_content *content)
{
    lp_error error = {LP_OK, ""};
    lp_store *store = lk_try_open(directory, options, NULL, content, &error);
    must(store != NULL ? LP_OK : LP_EIO, &error);
    return store;
}

void lk_close(lp_store *store)
{
    lp_error error = {LP_OK, ""};
    must(lp_store_close(store, 10000, &error), &error);
}

void lk_look(const char *directory, const lp_lmdb_options *options, lk_content *content)
{
    lk_close(lk_open(directory, options, content));
}

struct figure {
    const char *name;
    uint64_t number;
};

static void take_figure(void *ctx, const char *name, uint64_t number, const char *text)
{
    struct figure *figure = ctx;
    if (text == NULL && strcmp(name, figure->name) == 0)
        figure->number = number;
}

uint64_t lk_figure(lp_store *store, const char *name)
{
    struct figure figure = {name, UINT64_MAX};
    lp_error error = {LP_OK, ""};
    must(lp_store_inspect(store, take_figure, &figure, &error), &error);
    return figure.number;
}

int lk_verify(lp_store *store, lp_error *error)
{
    struct figure figure = {"", 0};
    return lp_store_verify(store, take_figure, &figure, error);
}

void lk_compact(lp_store *store)
{
    lp_error error = {LP_OK, "compaction does not end"};
    int64_t next_ms = 0;
    int calls = 0;
    for (; calls < 100 && next_ms >= 0; calls++)
        must(lp_store_compact(store, 1000, &next_ms, &error), &error);
    must(next_ms < 0 ? LP_OK : LP_EDEADLINE, &error);
}
