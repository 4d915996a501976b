/* See sqlite_kit.h. What cannot work ends the program with a sentence. */
#include "sqlite_kit.h"

#include <dirent.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static _Noreturn void die(const char *what, const char *name)
{
    fprintf(stderr, "sqlite_kit: %s %s: %s\n", what, name, strerror(errno));
    abort();
}

/* ---- places ---------------------------------------------------------------------------------- */

sk_place sk_place_new(void)
{
    sk_place place;
    const char *parent = getenv("TMPDIR");
    snprintf(place.directory, sizeof(place.directory), "%.200s/sqlite-XXXXXX",
             parent != NULL ? parent : "/tmp");
    if (mkdtemp(place.directory) == NULL)
        die("mkdtemp", place.directory);
    snprintf(place.file, sizeof(place.file), "%s/store.db", place.directory);
    return place;
}

static void each_file(const char *directory, void (*each)(const char *path, void *ctx), void *ctx)
{
    struct dirent **entries;
    int count = scandir(directory, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char path[1024];
        snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            each(path, ctx);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static void remove_one(const char *path, void *ctx)
{
    (void)ctx;
    unlink(path);
}

void sk_place_remove(const sk_place *place)
{
    each_file(place->directory, remove_one, NULL);
    rmdir(place->directory);
}

static uint8_t *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rbe");
    struct stat stat_buffer;
    if (file == NULL || fstat(fileno(file), &stat_buffer) != 0)
        die("open", path);
    *len = (size_t)stat_buffer.st_size;
    uint8_t *data = malloc(*len + 1);
    if (data == NULL || fread(data, 1, *len, file) != *len)
        die("read", path);
    fclose(file);
    return data;
}

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "wbe");
    if (file == NULL || (len > 0 && fwrite(data, 1, len, file) != len) || fclose(file) != 0)
        die("write", path);
}

static void copy_one(const char *path, void *ctx)
{
    char to[1024];
    size_t len;
    uint8_t *data = read_file(path, &len);
    snprintf(to, sizeof(to), "%s%s", (const char *)ctx, strrchr(path, '/'));
    write_file(to, data, len);
    free(data);
}

sk_place sk_place_copy(const sk_place *place)
{
    sk_place copy = sk_place_new();
    each_file(place->directory, copy_one, copy.directory);
    return copy;
}

static void path_of(const sk_place *place, const char *suffix, char *out, size_t size)
{
    snprintf(out, size, "%s%s", place->file, suffix);
}

bool sk_has_file(const sk_place *place, const char *suffix)
{
    char path[400];
    path_of(place, suffix, path, sizeof(path));
    return access(path, F_OK) == 0;
}

uint64_t sk_file_size(const sk_place *place, const char *suffix)
{
    char path[400];
    struct stat stat_buffer;
    path_of(place, suffix, path, sizeof(path));
    return stat(path, &stat_buffer) == 0 ? (uint64_t)stat_buffer.st_size : 0;
}

uint8_t *sk_read(const sk_place *place, const char *suffix, size_t *len)
{
    char path[400];
    path_of(place, suffix, path, sizeof(path));
    return read_file(path, len);
}

void sk_write(const sk_place *place, const char *suffix, const void *data, size_t len)
{
    char path[400];
    path_of(place, suffix, path, sizeof(path));
    write_file(path, data, len);
}

static uint64_t mix(uint64_t digest, const void *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        digest = (digest ^ ((const uint8_t *)data)[i]) * UINT64_C(1099511628211);
    return digest;
}

static void digest_one(const char *path, void *ctx)
{
    uint64_t *digest = ctx;
    size_t len;
    uint8_t *data = read_file(path, &len);
    *digest = mix(*digest, path, strlen(path));
    *digest = mix(*digest, data, len);
    free(data);
}

uint64_t sk_digest(const sk_place *place)
{
    uint64_t digest = UINT64_C(14695981039346656037);
    each_file(place->directory, digest_one, &digest);
    return digest;
}

/* ---- what a start pushes --------------------------------------------------------------------- */

void sk_category(uint64_t n, char *out, size_t size)
{
    snprintf(out, size, "category %u", (unsigned)(n % SK_CATEGORIES));
}

static size_t data_of(uint64_t n, char *out, size_t size, size_t len)
{
    int head = snprintf(out, size, "{\"n\":%llu,\"x\":\"", (unsigned long long)n);
    if (len < (size_t)head + 2)
        len = (size_t)head + 2;
    for (size_t i = (size_t)head; i < len - 2; i++)
        out[i] = (char)('a' + (n + i) % 26);
    memcpy(out + len - 2, "\"}", 2);
    return len;
}

static int take_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    sk_content *content = ctx;
    uint64_t n = lp_id_seq(id) - SK_BASE;
    char want_category[64];
    sk_category(n, want_category, sizeof(want_category));
    char *want = malloc(data.len + 64);
    if (want == NULL)
        return LP_ENOMEM;
    size_t len = data_of(n, want, data.len + 64, data.len);
    lp_id want_id = lp_id_make(SK_SEQ(n), n * UINT64_C(0x9E3779B97F4A7C15));
    if (len != data.len || memcmp(want, data.base, len) != 0 ||
        category.len != strlen(want_category) || memcmp(&id, &want_id, sizeof(id)) != 0 ||
        memcmp(category.base, want_category, category.len) != 0 ||
        (content->count > 0 && content->events[content->count - 1] >= n))
        content->wrong++;
    free(want);
    if (content->count < SK_EVENTS_MAX)
        content->events[content->count++] = n;
    return LP_OK;
}

static int take_horizon(void *ctx, lp_str category, uint64_t seq)
{
    sk_content *content = ctx;
    if (category.len == 0)
        content->floor = seq;
    else if (category.len == 10)
        content->horizons[category.base[9] - '0'] = seq;
    return LP_OK;
}

static int take_key(void *ctx, const lp_idempotency *record)
{
    (void)record;
    ((sk_content *)ctx)->keys++;
    return LP_OK;
}

static int take_highest(void *ctx, uint64_t seq)
{
    ((sk_content *)ctx)->highest = seq;
    return LP_OK;
}

static int take_loss(void *ctx, uint64_t records, const char *detail)
{
    sk_content *content = ctx;
    content->losses++;
    content->lost_records += records;
    snprintf(content->loss, sizeof(content->loss), "%s", detail);
    return LP_OK;
}

static void take_log(void *ctx, const char *line)
{
    sk_content *content = ctx;
    snprintf(content->log, sizeof(content->log), "%s", line);
}

/* ---- open and close -------------------------------------------------------------------------- */

lp_sqlite_options sk_options(lp_sync sync)
{
    lp_sqlite_options options = LP_SQLITE_OPTIONS_INIT;
    options.sync = sync;
    return options;
}

lp_store *sk_open_world(const sk_place *place, const lp_sqlite_options *options,
                        const lp__sqlite_world *world, sk_content *content, lp_error *error)
{
    lp__sqlite_world real = lp__sqlite_world_real();
    lp_store_sink sink = {.ctx = content,
                          .event = take_event,
                          .horizon = take_horizon,
                          .idempotency = take_key,
                          .highest = take_highest,
                          .loss = take_loss,
                          .log = take_log,
                          .expired_ms = INT64_MIN};
    lp_addon *addon;
    lp_store *store = NULL;
    memset(content, 0, sizeof(*content));
    if (lp__sqlite_new(place->file, options, world != NULL ? world : &real, &addon, error) == LP_OK)
        lp_store_open(addon, &sink, &store, error);
    return store;
}

lp_store *sk_open(const sk_place *place, lp_sync sync, sk_content *content)
{
    lp_error error = {LP_OK, ""};
    lp_sqlite_options options = sk_options(sync);
    lp_store *store = sk_open_world(place, &options, NULL, content, &error);
    if (store == NULL) {
        fprintf(stderr, "sqlite_kit: %s\n", error.message);
        abort();
    }
    return store;
}

void sk_close(lp_store *store)
{
    lp_error error = {LP_OK, ""};
    if (lp_store_close(store, 10000, &error) != LP_OK) {
        fprintf(stderr, "sqlite_kit: %s\n", error.message);
        abort();
    }
}

void sk_look(const sk_place *place, lp_sync sync, sk_content *content)
{
    sk_close(sk_open(place, sync, content));
}

/* ---- batches --------------------------------------------------------------------------------- */

lp_batch *sk_batch(void)
{
    lp_batch *batch;
    if (lp_batch_new(&batch) != LP_OK)
        die("lp_batch_new", "");
    return batch;
}

void sk_add_event(lp_batch *batch, uint64_t n, size_t len)
{
    char category[64];
    sk_category(n, category, sizeof(category));
    if (len == 0)
        len = 20 + (size_t)(n * 37 % 90);
    char *data = malloc(len + 64);
    lp_event *event = NULL;
    if (data == NULL)
        die("malloc", "");
    len = data_of(n, data, len + 64, len);
    if (lp_event_new(lp_id_make(SK_SEQ(n), n * UINT64_C(0x9E3779B97F4A7C15)), lp_str_of(category),
                     (lp_str){data, len}, &event) != LP_OK ||
        lp_batch_add_event(batch, event) != LP_OK)
        die("lp_event_new", category);
    lp_event_unref(event);
    free(data);
}

int sk_commit(lp_store *store, lp_batch *batch, lp_error *error)
{
    int status = lp_store_append(store, batch, error);
    lp_batch_free(batch);
    return status;
}

int sk_append(lp_store *store, uint64_t first, size_t count, lp_error *error)
{
    lp_batch *batch = sk_batch();
    for (size_t i = 0; i < count; i++)
        sk_add_event(batch, first + i, 0);
    lp_batch_set_highest(batch, SK_SEQ(first + count - 1));
    return sk_commit(store, batch, error);
}

void sk_raise_floor(lp_store *store, uint64_t n)
{
    lp_error error = {LP_OK, ""};
    lp_batch *batch = sk_batch();
    lp_batch_add_horizon(batch, (lp_str){"", 0}, SK_SEQ(n));
    if (sk_commit(store, batch, &error) != LP_OK) {
        fprintf(stderr, "sqlite_kit: %s\n", error.message);
        abort();
    }
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

uint64_t sk_figure(lp_store *store, const char *name)
{
    struct figure figure = {name, UINT64_MAX};
    lp_error error;
    lp_store_inspect(store, take_figure, &figure, &error);
    return figure.number;
}

bool sk_has(const sk_content *content, uint64_t n)
{
    for (size_t i = 0; i < content->count; i++)
        if (content->events[i] == n)
            return true;
    return false;
}

/* ---- another program ------------------------------------------------------------------------- */

int sk_sql(const sk_place *place, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_open_v2(place->file, &db, SQLITE_OPEN_READWRITE, NULL);
    sqlite3_busy_timeout(db, 1000);
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (code != SQLITE_OK)
        fprintf(stderr, "sqlite_kit: %s: %s\n", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
    return code;
}

int64_t sk_number(const sk_place *place, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *row = NULL;
    int64_t number = INT64_MIN;
    sqlite3_open_v2(place->file, &db, SQLITE_OPEN_READWRITE, NULL);
    if (sqlite3_prepare_v2(db, sql, -1, &row, NULL) == SQLITE_OK && sqlite3_step(row) == SQLITE_ROW)
        number = sqlite3_column_int64(row, 0);
    else
        fprintf(stderr, "sqlite_kit: %s: %s\n", sql, sqlite3_errmsg(db));
    sqlite3_finalize(row);
    sqlite3_close(db);
    return number;
}
