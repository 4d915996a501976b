/* The journal's start over a segment that was cut short, or of which some bytes were changed: it
 * opens, gives back whole batches and never a part of one that was not committed, tells a loss
 * where it lost something, and gives the same at every later start.
 *
 * The input is a script. Its first bytes say what happens to the file (see journal_script.h), each
 * byte behind them is one record; expectations follow from the script alone
 * (addons/journal/FORMAT.md).
 */
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <longpoll/store.h>

#include "addons/journal/journal_private.h"
#include "journal_script.h"

/* ---- what a start gives back ----------------------------------------------------------------- */

typedef struct given {
    uint64_t seqs[RECORDS_MAX];
    size_t count;
    uint64_t highest, horizons[CATEGORIES];
    size_t keys, losses;
} given;

static int take_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    given *to = ctx;
    char name[8], text[64];
    uint64_t seq = lp_id_seq(id);
    FUZZ_HOLDS(to->count == 0 || to->seqs[to->count - 1] < seq, "events come in order");
    FUZZ_HOLDS(to->count < RECORDS_MAX, "there are no more events than were written");
    to->seqs[to->count++] = seq;
    const written *event = event_of(seq);
    if (event == NULL) {
        FUZZ_HOLDS(seq == NEW_SEQ, "an event that is given was written");
        return LP_OK;
    }
    category_name(event->category, name);
    lp_str expected = {text, data_text(seq, event->data_len * 5, text)};
    FUZZ_HOLDS(fuzz_equal(category, lp_str_of(name)) && fuzz_equal(data, expected),
               "an event is what it was");
    return LP_OK;
}

static int take_horizon(void *ctx, lp_str category, uint64_t seq)
{
    given *to = ctx;
    if (category.len == 0)
        return LP_OK; /* the floor, which the last step writes */
    FUZZ_HOLDS(category.len == 2 && category.base[0] == 'c' && category.base[1] < '0' + CATEGORIES,
               "a horizon is one that was written");
    to->horizons[category.base[1] - '0'] = seq;
    return LP_OK;
}

static int take_key(void *ctx, const lp_idempotency *record)
{
    given *to = ctx;
    FUZZ_HOLDS(record->digest == 99 && record->key.len >= 1 && record->key.base[0] == 'k',
               "a key is one that was written");
    to->keys++;
    return LP_OK;
}

static int take_highest(void *ctx, uint64_t seq)
{
    ((given *)ctx)->highest = seq;
    return LP_OK;
}

static int take_loss(void *ctx, uint64_t records, const char *detail)
{
    (void)records;
    FUZZ_HOLDS(detail[0] != '\0' && strchr(detail, '\n') == NULL, "a loss has its sentence");
    ((given *)ctx)->losses++;
    return LP_OK;
}

/* What batches 1..`batches` say, when all their bytes are there. */
static void expect(uint32_t batches, given *out)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < file.count; i++) {
        const written *one = &file.records[i];
        if (one->batch > batches)
            break;
        if (one->type == LP__RECORD_HORIZON && one->seq > out->horizons[one->category])
            out->horizons[one->category] = one->seq;
        out->keys += one->type == LP__RECORD_IDEMPOTENCY;
        if (one->type == LP__RECORD_EVENT || one->type == LP__RECORD_COMMIT)
            out->highest = one->seq > out->highest ? one->seq : out->highest;
        if (one->type == LP__RECORD_EVENT)
            out->seqs[out->count++] = one->seq;
        for (size_t n = 0; one->type == LP__RECORD_REMOVE && n < out->count; n++)
            if (out->seqs[n] == one->seq)
                out->seqs[n] = 0;
    }
    size_t left = 0;
    for (size_t i = 0; i < out->count; i++)
        if (out->seqs[i] != 0 && out->seqs[i] > out->horizons[event_of(out->seqs[i])->category])
            out->seqs[left++] = out->seqs[i];
    out->count = left;
}

static bool same(const given *a, const given *b)
{
    return a->count == b->count && memcmp(a->seqs, b->seqs, a->count * sizeof(uint64_t)) == 0 &&
           a->keys == b->keys && memcmp(a->horizons, b->horizons, sizeof(a->horizons)) == 0;
}

static bool has(const given *all, uint64_t seq)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->seqs[i] == seq)
            return true;
    return false;
}

/* ---- the directory --------------------------------------------------------------------------- */

static char directory[64];

static void empty_directory(void)
{
    DIR *dir = opendir(directory);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
}

static void remove_directory(void)
{
    empty_directory();
    rmdir(directory);
}

static void make_directory(void)
{
    if (directory[0] != '\0')
        return;
    snprintf(directory, sizeof(directory), "%s/fuzz_journal-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_HOLDS(mkdtemp(directory) != NULL, "there is a directory");
    atexit(remove_directory);
}

static int no_sync(void *ctx, int fd)
{
    (void)ctx, (void)fd;
    return 0;
}

static void no_writeback(void *ctx, int fd, off_t offset, off_t len)
{
    (void)ctx, (void)fd, (void)offset, (void)len;
}

static int64_t still_clock(void *ctx)
{
    (void)ctx;
    return WALL_MS;
}

static uint64_t another_boot(void *ctx)
{
    (void)ctx;
    return BOOT + 2;
}

/* Opens, and appends an event and a floor if asked to; closes. */
static void start(bool append, given *out)
{
    lp__journal_io io = lp__journal_io_real();
    lp_journal_options options = LP_JOURNAL_OPTIONS_INIT;
    lp_store_sink sink = {.ctx = out,
                          .event = take_event,
                          .horizon = take_horizon,
                          .idempotency = take_key,
                          .highest = take_highest,
                          .loss = take_loss,
                          .expired_ms = INT64_MIN};
    lp_error error = {LP_OK, ""};
    lp_addon *addon;
    lp_store *store;
    memset(out, 0, sizeof(*out));
    io.fdatasync = io.fsync_dir = no_sync;
    io.begin_writeback = no_writeback;
    io.wall_ms = still_clock;
    io.boot = another_boot;
    options.sync = LP_SYNC_ALWAYS;
    options.segment_bytes = 4096;
    FUZZ_HOLDS(lp__journal_new(directory, &options, &io, &addon, &error) == LP_OK, "it is made");
    FUZZ_HOLDS(lp_store_open(addon, &sink, &store, &error) == LP_OK, "damage never stops a start");
    if (append) {
        lp_batch *batch;
        lp_event *event;
        FUZZ_HOLDS(lp_batch_new(&batch) == LP_OK &&
                       lp_event_new(lp_id_make(NEW_SEQ, 1), lp_str_of("new"), lp_str_of("1"),
                                    &event) == LP_OK,
                   "there is memory");
        lp_batch_add_event(batch, event);
        lp_batch_add_horizon(batch, (lp_str){"", 0}, NEW_SEQ - 1);
        lp_batch_set_highest(batch, NEW_SEQ);
        FUZZ_HOLDS(lp_store_append(store, batch, &error) == LP_OK, "it goes on after a damage");
        lp_event_unref(event);
        lp_batch_free(batch);
    }
    FUZZ_HOLDS(lp_store_close(store, 1000, &error) == LP_OK, "it closes");
}

/* ---- what must have come back ---------------------------------------------------------------- */

/* How many batches have their commit record, were it not for changed bytes. */
static uint32_t count_batches(harm done)
{
    uint32_t committed = 0;
    for (size_t i = 0; i < file.count; i++) {
        const written *one = &file.records[i];
        if (one->type == LP__RECORD_COMMIT && !(done.is_cut && one->end > done.from))
            committed = one->batch;
    }
    return committed;
}

/* Whether what was changed looks like a tail that was never written whole: something of batch
 * `from` was touched, and all that came behind that batch. */
static bool is_tail(harm done, uint32_t from)
{
    bool some = false;
    for (size_t i = 0; i < file.count; i++) {
        bool touched = is_touched(&file.records[i], done);
        some |= touched && file.records[i].batch == from;
        if (!touched && file.records[i].batch > from)
            return false;
    }
    return some;
}

/* Whether only the last batch was touched, and nothing was written behind it: then a power cut may
 * have kept it from being written whole, and it is void. */
static bool is_last_alone(harm done, uint32_t committed)
{
    bool some = false;
    for (size_t i = 0; i < file.count; i++) {
        bool touched = is_touched(&file.records[i], done);
        if (file.records[i].batch > committed || (touched && file.records[i].batch < committed))
            return false;
        some |= touched;
    }
    return some && done.from >= LP__SEGMENT_HEADER;
}

/* Changed bytes: all is there; or the batches of a tail are void whole; or a loss is told, and no
 * more is missing than what was touched. */
static void check_changed(const given *got, harm done, uint32_t committed)
{
    given all;
    expect(committed, &all);
    for (size_t i = 0; i < got->count; i++)
        FUZZ_HOLDS(event_of(got->seqs[i])->batch <= committed,
                   "no event of a batch that was not committed");
    if (is_last_alone(done, committed)) {
        given before;
        expect(committed - 1, &before);
        FUZZ_HOLDS(same(got, &before) && got->losses == 0,
                   "a last batch with a hole is void whole");
        return;
    }
    if (same(got, &all))
        return;
    if (got->losses == 0) {
        given before;
        bool is_void = false;
        for (uint32_t last = 0; last < committed && !is_void; last++) {
            expect(last, &before);
            is_void = is_tail(done, last + 1) && same(got, &before);
        }
        FUZZ_HOLDS(is_void, "a loss is told, but of batches at the end that are void whole");
        return;
    }
    for (size_t i = 0; done.from >= LP__SEGMENT_HEADER && i < all.count; i++) {
        const written *event = event_of(all.seqs[i]);
        FUZZ_HOLDS(is_touched(event, done) || has(got, all.seqs[i]) || is_tail(done, event->batch),
                   "what was not touched is there");
    }
}

static void check(const given *got, harm done)
{
    given exactly;
    uint32_t committed = count_batches(done);
    if (!done.is_cut) {
        check_changed(got, done, committed);
        return;
    }
    expect(committed, &exactly);
    FUZZ_HOLDS(same(got, &exactly), "a file that was cut has the batches that are whole");
    FUZZ_HOLDS(got->losses == 0, "a batch that was not committed is no loss");
    FUZZ_HOLDS(got->highest == exactly.highest, "the highest number is that of a whole batch");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static given first, second, third;
    char path[128];
    if (size < 5)
        return 0;
    bool recycled = data[0] & 2;
    script_write(data + 5, size - 5, recycled);
    harm done = script_harm(data);
    make_directory();
    empty_directory();
    snprintf(path, sizeof(path), "%s/0000000000000001.seg", directory);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_HOLDS(fd >= 0 && write(fd, file.bytes, file.size) == (ssize_t)file.size, "it is written");
    close(fd);

    start(false, &first);
    check(&first, done);
    start(true, &second);
    FUZZ_HOLDS(same(&first, &second) && first.highest == second.highest,
               "a second start gives the same");
    start(false, &third);
    FUZZ_HOLDS(third.count == first.count + 1 && has(&third, NEW_SEQ) &&
                   memcmp(third.seqs, first.seqs, first.count * sizeof(uint64_t)) == 0,
               "what was kept after a damage comes behind it");
    return 0;
}
