/* See journal_kit.h. What cannot work ends the program with a sentence. */
#include "journal_kit.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void die(const char *what, const char *name)
{
    fprintf(stderr, "journal_kit: %s %s: %s\n", what, name, strerror(errno));
    abort();
}

/* ---- files ----------------------------------------------------------------------------------- */

static char *directory_below(const char *parent)
{
    char *name = malloc(4096);
    if (name == NULL)
        die("malloc", "");
    snprintf(name, 4096, "%s/journal-XXXXXX", parent);
    if (mkdtemp(name) == NULL)
        die("mkdtemp", name);
    return name;
}

char *jk_directory(void)
{
    const char *parent = getenv("TMPDIR");
    return directory_below(parent != NULL ? parent : "/tmp");
}

char *jk_directory_in_memory(void)
{
    bool is_there = getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0;
    return is_there ? directory_below("/dev/shm") : jk_directory();
}

/* Calls `each` for the path of every file of a directory. */
static void each_file(const char *directory, void (*each)(const char *path, void *ctx), void *ctx)
{
    DIR *dir = opendir(directory);
    if (dir == NULL)
        return;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char path[8192];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        each(path, ctx);
    }
    closedir(dir);
}

static void remove_one(const char *path, void *ctx)
{
    (void)ctx;
    if (unlink(path) != 0 && errno == EISDIR)
        jk_remove(path);
}

void jk_remove(const char *directory)
{
    each_file(directory, remove_one, NULL);
    rmdir(directory);
}

static void remove_matching(const char *path, void *ctx)
{
    if (strstr(strrchr(path, '/'), ctx) != NULL)
        unlink(path);
}

void jk_remove_files(const char *directory, const char *part)
{
    each_file(directory, remove_matching, (void *)(uintptr_t)part);
}

uint8_t *jk_read(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rbe");
    struct stat stat;
    if (file == NULL || fstat(fileno(file), &stat) != 0)
        die("open", path);
    *len = (size_t)stat.st_size;
    uint8_t *data = malloc(*len + 1);
    if (data == NULL || fread(data, 1, *len, file) != *len)
        die("read", path);
    fclose(file);
    return data;
}

void jk_write(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "wbe");
    if (file == NULL || (len > 0 && fwrite(data, 1, len, file) != len) || fclose(file) != 0)
        die("write", path);
}

static void copy_one(const char *path, void *ctx)
{
    char to[8192];
    size_t len;
    uint8_t *data = jk_read(path, &len);
    snprintf(to, sizeof(to), "%s%s", (const char *)ctx, strrchr(path, '/'));
    jk_write(to, data, len);
    free(data);
}

void jk_copy(const char *from, const char *to)
{
    jk_remove(to);
    if (mkdir(to, 0700) != 0)
        die("mkdir", to);
    each_file(from, copy_one, (void *)(uintptr_t)to);
}

struct counter {
    const char *ending;
    size_t count;
    uint64_t bytes;
};

static void count_one(const char *path, void *ctx)
{
    struct counter *counter = ctx;
    size_t len = strlen(path), ending = strlen(counter->ending);
    struct stat stat_buffer;
    if (len < ending || strcmp(path + len - ending, counter->ending) != 0 ||
        stat(path, &stat_buffer) != 0)
        return;
    counter->count++;
    counter->bytes += (uint64_t)stat_buffer.st_size;
}

size_t jk_count_files(const char *directory, const char *ending, uint64_t *bytes)
{
    struct counter counter = {ending, 0, 0};
    each_file(directory, count_one, &counter);
    if (bytes != NULL)
        *bytes = counter.bytes;
    return counter.count;
}

bool jk_segment(const char *directory, size_t n, char *path, size_t size)
{
    struct dirent **entries;
    int count = scandir(directory, &entries, NULL, alphasort);
    bool found = false;
    for (int i = 0; i < count; i++) {
        const char *dot = strrchr(entries[i]->d_name, '.');
        if (dot != NULL && strcmp(dot, ".seg") == 0 && n-- == 0) {
            snprintf(path, size, "%s/%s", directory, entries[i]->d_name);
            found = true;
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return found;
}

/* ---- what a start pushes --------------------------------------------------------------------- */

static void category_of(uint64_t n, char *out, size_t size)
{
    snprintf(out, size, "category %u", (unsigned)(n % JK_CATEGORIES));
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

static size_t usual_len(uint64_t n)
{
    return 20 + (size_t)(n * 37 % 90);
}

static int take_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    jk_content *content = ctx;
    uint64_t n = lp_id_seq(id) - JK_BASE;
    char want_category[64];
    category_of(n, want_category, sizeof(want_category));
    char *want = malloc(data.len + 64);
    if (want == NULL)
        return LP_ENOMEM;
    size_t len = data_of(n, want, data.len + 64, data.len);
    if (len != data.len || memcmp(want, data.base, len) != 0 ||
        category.len != strlen(want_category) ||
        memcmp(category.base, want_category, category.len) != 0 ||
        (content->count > 0 && content->events[content->count - 1] >= n))
        content->wrong++;
    free(want);
    if (content->count == content->capacity) {
        content->capacity = content->capacity == 0 ? 64 : content->capacity * 2;
        content->events = realloc(content->events, content->capacity * sizeof(uint64_t));
        if (content->events == NULL)
            die("realloc", "");
    }
    if (content->skip.base != NULL && content->skip.len == category.len &&
        memcmp(content->skip.base, category.base, category.len) == 0)
        return LP_SKIPPED;
    content->events[content->count++] = n;
    return LP_OK;
}

static int take_horizon(void *ctx, lp_str category, uint64_t seq)
{
    jk_content *content = ctx;
    if (content->horizon_count == sizeof(content->horizons) / sizeof(content->horizons[0]))
        return LP_ENOMEM;
    jk_horizon *horizon = &content->horizons[content->horizon_count++];
    snprintf(horizon->category, sizeof(horizon->category), "%.*s", (int)category.len,
             category.base);
    horizon->seq = seq;
    return LP_OK;
}

static int take_key(void *ctx, const lp_idempotency *record)
{
    jk_content *content = ctx;
    if (content->key_count == sizeof(content->keys) / sizeof(content->keys[0]))
        return LP_ENOMEM;
    jk_key *key = &content->keys[content->key_count++];
    snprintf(key->key, sizeof(key->key), "%.*s", (int)record->key.len, record->key.base);
    key->record = *record;
    return LP_OK;
}

static int take_highest(void *ctx, uint64_t seq)
{
    jk_content *content = ctx;
    if (seq > content->highest)
        content->highest = seq;
    return LP_OK;
}

static int take_loss(void *ctx, uint64_t records, const char *detail)
{
    jk_content *content = ctx;
    content->losses++;
    content->lost_records += records;
    snprintf(content->loss, sizeof(content->loss), "%s", detail);
    return LP_OK;
}

static void take_log(void *ctx, const char *line)
{
    jk_content *content = ctx;
    snprintf(content->log, sizeof(content->log), "%s", line);
}

void jk_content_free(jk_content *content)
{
    free(content->events);
    content->events = NULL;
    content->count = content->capacity = 0;
}

static void empty(jk_content *content)
{
    content->count = content->horizon_count = content->key_count = 0;
    content->highest = content->lost_records = 0;
    content->losses = content->wrong = 0;
    content->loss[0] = content->log[0] = '\0';
}

/* ---- open and close -------------------------------------------------------------------------- */

lp_journal_options jk_options(lp_sync sync, int64_t segment_bytes)
{
    lp_journal_options options = LP_JOURNAL_OPTIONS_INIT;
    options.sync = sync;
    options.segment_bytes = segment_bytes;
    return options;
}

lp_store *jk_open_io(const char *directory, const lp_journal_options *options,
                     const lp__journal_io *io, jk_content *content, lp_error *error)
{
    lp_store_sink sink = {.expired_ms = INT64_MIN};
    lp__journal_io real = lp__journal_io_real();
    lp_addon *addon;
    lp_store *store = NULL;
    if (content != NULL) {
        empty(content);
        sink = (lp_store_sink){.ctx = content,
                               .event = take_event,
                               .horizon = take_horizon,
                               .idempotency = take_key,
                               .highest = take_highest,
                               .loss = take_loss,
                               .log = take_log,
                               .expired_ms = INT64_MIN};
    }
    if (lp__journal_new(directory, options, io != NULL ? io : &real, &addon, error) != LP_OK)
        return NULL;
    lp_store_open(addon, &sink, &store, error);
    return store;
}

lp_store *jk_open(const char *directory, const lp_journal_options *options, jk_content *content)
{
    lp_error error = {LP_OK, ""};
    lp_store *store = jk_open_io(directory, options, NULL, content, &error);
    if (store == NULL) {
        fprintf(stderr, "journal_kit: %s\n", error.message);
        abort();
    }
    return store;
}

void jk_close(lp_store *store)
{
    lp_error error = {LP_OK, ""};
    if (lp_store_close(store, 10000, &error) != LP_OK) {
        fprintf(stderr, "journal_kit: %s\n", error.message);
        abort();
    }
}

void jk_look(const char *directory, const lp_journal_options *options, jk_content *content)
{
    jk_close(jk_open(directory, options, content));
}

/* ---- batches --------------------------------------------------------------------------------- */

lp_event *jk_event_of(uint64_t n, size_t data_len)
{
    char category[64];
    category_of(n, category, sizeof(category));
    char *data = malloc(data_len + 64);
    lp_event *event = NULL;
    if (data == NULL)
        die("malloc", "");
    size_t len = data_of(n, data, data_len + 64, data_len);
    if (lp_event_new(lp_id_make(JK_SEQ(n), n), lp_str_of(category), (lp_str){data, len}, &event) !=
        LP_OK)
        die("lp_event_new", category);
    free(data);
    return event;
}

lp_event *jk_event(uint64_t n)
{
    return jk_event_of(n, usual_len(n));
}

lp_batch *jk_batch(void)
{
    lp_batch *batch;
    if (lp_batch_new(&batch) != LP_OK)
        die("lp_batch_new", "");
    return batch;
}

int jk_append(lp_store *store, uint64_t first, size_t count, lp_error *error)
{
    lp_batch *batch = jk_batch();
    for (size_t i = 0; i < count; i++) {
        lp_event *event = jk_event(first + i);
        lp_batch_add_event(batch, event);
        lp_event_unref(event);
    }
    int status = lp_store_append(store, batch, error);
    lp_batch_free(batch);
    return status;
}

void jk_commit(lp_store *store, lp_batch *batch)
{
    lp_error error = {LP_OK, ""};
    if (lp_store_append(store, batch, &error) != LP_OK) {
        fprintf(stderr, "journal_kit: %s\n", error.message);
        abort();
    }
    lp_batch_free(batch);
}

void jk_raise_floor(lp_store *store, uint64_t n)
{
    lp_batch *batch = jk_batch();
    lp_batch_add_horizon(batch, (lp_str){"", 0}, JK_SEQ(n));
    jk_commit(store, batch);
}

void jk_idle(lp_store *store)
{
    lp_error error = {LP_OK, ""};
    int64_t next_ms = 0;
    for (int i = 0; i < 100000 && next_ms >= 0 && next_ms <= 10; i++)
        if (lp_store_idle(store, 5, &next_ms, &error) != LP_OK)
            break;
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

uint64_t jk_figure(lp_store *store, const char *name)
{
    struct figure figure = {name, UINT64_MAX};
    lp_error error;
    lp_store_inspect(store, take_figure, &figure, &error);
    return figure.number;
}

/* ---- looking --------------------------------------------------------------------------------- */

bool jk_has(const jk_content *content, uint64_t n)
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

uint64_t jk_horizon_of(const jk_content *content, const char *category)
{
    uint64_t seq = 0;
    for (size_t i = 0; i < content->horizon_count; i++)
        if (strcmp(content->horizons[i].category, category) == 0 && content->horizons[i].seq > seq)
            seq = content->horizons[i].seq;
    return seq;
}
