/* See bench_report.h. */
#include "bench_report.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/load_figures.h"

enum { REFERENCES_MAX = 8, NAME_LEN_MAX = 80, NAME_WIDTH_MIN = 14 };

typedef struct row {
    char *case_name, *server, *figure, *unit;
    double *values; /* by round; NAN where there is none */
    int rounds;
} row;

typedef struct summary {
    double median, low, high;
    int rounds;
} summary;

struct bench_report {
    const char *mode;
    bool is_json;
    char *references[REFERENCES_MAX];
    int reference_count;
    row *rows;
    size_t count, capacity;
};

static void *or_fail(void *memory)
{
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

bench_report *bench_report_new(const char *mode, bool is_json)
{
    bench_report *report = or_fail(calloc(1, sizeof(*report)));
    report->mode = mode;
    report->is_json = is_json;
    return report;
}

void bench_report_reference(bench_report *report, const char *server)
{
    if (report->reference_count == REFERENCES_MAX)
        fail("more than %d references", REFERENCES_MAX);
    report->references[report->reference_count++] = or_fail(strdup(server));
}

/* ---- rows ------------------------------------------------------------------------------------ */

static row *row_find(const bench_report *report, const char *case_name, const char *server,
                     const char *figure)
{
    for (size_t i = 0; i < report->count; i++) {
        row *at = &report->rows[i];
        if (strcmp(at->case_name, case_name) == 0 && strcmp(at->server, server) == 0 &&
            strcmp(at->figure, figure) == 0)
            return at;
    }
    return NULL;
}

static row *row_add(bench_report *report, const char *case_name, const char *server,
                    const char *figure, const char *unit)
{
    if (report->count == report->capacity) {
        report->capacity = report->capacity > 0 ? 2 * report->capacity : 64;
        report->rows = or_fail(realloc(report->rows, report->capacity * sizeof(row)));
    }
    row *added = &report->rows[report->count++];
    *added = (row){.case_name = or_fail(strdup(case_name)),
                   .server = or_fail(strdup(server)),
                   .figure = or_fail(strdup(figure)),
                   .unit = or_fail(strdup(unit))};
    return added;
}

static void rows_forget(bench_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        row *at = &report->rows[i];
        free(at->case_name);
        free(at->server);
        free(at->figure);
        free(at->unit);
        free(at->values);
    }
    report->count = 0;
}

void bench_report_add(bench_report *report, int round, const char *case_name, const char *server,
                      const char *figure, const char *unit, double value)
{
    row *at = row_find(report, case_name, server, figure);
    if (at == NULL)
        at = row_add(report, case_name, server, figure, unit);
    if (round >= at->rounds) {
        at->values = or_fail(realloc(at->values, ((size_t)round + 1) * sizeof(double)));
        while (at->rounds <= round)
            at->values[at->rounds++] = (double)NAN;
    }
    at->values[round] = value;
}

/* ---- medians --------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static summary summarize(double *values, int count)
{
    summary result = {.rounds = count};
    if (count == 0)
        return result;
    qsort(values, (size_t)count, sizeof(double), compare);
    result.median = (values[(count - 1) / 2] + values[count / 2]) / 2;
    result.low = values[0];
    result.high = values[count - 1];
    return result;
}

/* Of the values of a row, or of their ratios to those of another of the same rounds. */
static summary row_summary(const row *at, const row *reference)
{
    double *values = or_fail(malloc(((size_t)at->rounds + 1) * sizeof(double)));
    int count = 0;
    for (int round = 0; round < at->rounds; round++) {
        double value = at->values[round];
        if (reference != NULL)
            value = round < reference->rounds && reference->values[round] != 0
                        ? value / reference->values[round]
                        : (double)NAN;
        if (!isnan(value))
            values[count++] = value;
    }
    summary result = summarize(values, count);
    free(values);
    return result;
}

static bool is_reference(const bench_report *report, const char *server)
{
    for (int i = 0; i < report->reference_count; i++) {
        if (strcmp(report->references[i], server) == 0)
            return true;
    }
    return false;
}

/* False where there is no such ratio. */
static bool ratio_summary(const bench_report *report, const row *at, int reference, summary *out)
{
    const row *other =
        is_reference(report, at->server)
            ? NULL
            : row_find(report, at->case_name, report->references[reference], at->figure);
    if (other == NULL)
        return false;
    *out = row_summary(at, other);
    return out->rounds > 0;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void json_text(const char *name, const char *text)
{
    printf("\"%s\":\"", name);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < ' ')
            printf("\\u%04x", (unsigned)*text);
        else
            putchar(*text);
    }
    printf("\",");
}

static void json_row(const bench_report *report, const row *at, const char *figure,
                     const char *unit, const summary *told)
{
    putchar('{');
    json_text("mode", report->mode);
    json_text("case", at->case_name);
    json_text("server", at->server);
    json_text("figure", figure);
    json_text("unit", unit);
    printf("\"median\":%.6g,\"low\":%.6g,\"high\":%.6g,\"rounds\":%d}\n", told->median, told->low,
           told->high, told->rounds);
}

static void print_json(const bench_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const row *at = &report->rows[i];
        summary told = row_summary(at, NULL);
        if (told.rounds > 0)
            json_row(report, at, at->figure, at->unit, &told);
        for (int r = 0; r < report->reference_count; r++) {
            char figure[NAME_LEN_MAX];
            if (!ratio_summary(report, at, r, &told))
                continue;
            snprintf(figure, sizeof(figure), "%s / %s", at->figure, report->references[r]);
            json_row(report, at, figure, "ratio", &told);
        }
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

/* With as many digits as are worth reading. */
static const char *number(double value, char buffer[32])
{
    double size = fabs(value);
    int decimals = 0;
    if (size < 100 && size != 0)
        decimals = size >= 10 ? 1 : size >= 0.1 ? 2 : 4;
    snprintf(buffer, 32, "%.*f", decimals, value);
    return buffer;
}

static void print_line(const bench_report *report, const row *at, int width)
{
    char median[32], low[32], high[32], range[72];
    summary told = row_summary(at, NULL);
    if (told.rounds == 0)
        return;
    snprintf(range, sizeof(range), "%s to %s", number(told.low, low), number(told.high, high));
    printf("  %-*s %-30s %12s  %-22s %-14s", width, at->server, at->figure,
           number(told.median, median), told.rounds > 1 ? range : "", at->unit);
    for (int r = 0; r < report->reference_count; r++) {
        summary ratio;
        if (ratio_summary(report, at, r, &ratio))
            printf("  %s of %s", number(ratio.median, median), report->references[r]);
    }
    putchar('\n');
}

static bool is_first(const bench_report *report, size_t at, bool of_figure)
{
    const row *this = &report->rows[at];
    for (size_t i = 0; i < at; i++) {
        const row *before = &report->rows[i];
        if (strcmp(before->case_name, this->case_name) == 0 &&
            (!of_figure || strcmp(before->figure, this->figure) == 0))
            return false;
    }
    return true;
}

/* Those of a case together, within it those of a figure. */
static void print_case(const bench_report *report, const char *case_name, int width)
{
    printf("%s: %s\n", report->mode, case_name);
    for (size_t f = 0; f < report->count; f++) {
        const row *first = &report->rows[f];
        if (strcmp(first->case_name, case_name) != 0 || !is_first(report, f, true))
            continue;
        for (size_t i = f; i < report->count; i++) {
            const row *at = &report->rows[i];
            if (strcmp(at->case_name, case_name) == 0 && strcmp(at->figure, first->figure) == 0)
                print_line(report, at, width);
        }
    }
}

static void print_table(const bench_report *report)
{
    int width = NAME_WIDTH_MIN;
    for (size_t i = 0; i < report->count; i++) {
        int len = (int)strlen(report->rows[i].server);
        width = len > width ? len : width;
    }
    for (size_t i = 0; i < report->count; i++) {
        if (is_first(report, i, false))
            print_case(report, report->rows[i].case_name, width);
    }
}

void bench_report_print(bench_report *report)
{
    if (report->is_json)
        print_json(report);
    else
        print_table(report);
    fflush(stdout);
    rows_forget(report);
}

void bench_report_free(bench_report *report)
{
    if (report == NULL)
        return;
    bench_report_print(report);
    for (int i = 0; i < report->reference_count; i++)
        free(report->references[i]);
    free(report->rows);
    free(report);
}
