/* See result.h. */
#include "result.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "say.h"

enum { NAME_WIDTH = 20 };

#define DOUBLE_MAX (UINT64_C(1) << 53)

static void begin_member(result_object *result, const char *name)
{
    if (!result->is_json) {
        text_print(&result->text, "%-*s ", NAME_WIDTH, name);
        return;
    }
    text_print(&result->text, "%s", result->separator);
    text_string(&result->text, lp_str_of(name));
    text_print(&result->text, ":");
    result->separator = ",";
}

static void end_member(result_object *result)
{
    if (!result->is_json)
        text_print(&result->text, "\n");
}

void result_begin(result_object *result, bool is_json)
{
    *result = (struct result_object){.is_json = is_json, .separator = ""};
    if (is_json)
        text_print(&result->text, "{");
}

void result_text(result_object *result, const char *name, const char *value)
{
    begin_member(result, name);
    if (result->is_json)
        text_string(&result->text, lp_str_of(value));
    else
        text_put(&result->text, lp_str_of(value));
    end_member(result);
}

void result_number(result_object *result, const char *name, uint64_t value)
{
    const char *quote = result->is_json && value > DOUBLE_MAX ? "\"" : "";
    begin_member(result, name);
    text_print(&result->text, "%s%" PRIu64 "%s", quote, value, quote);
    end_member(result);
}

void result_seq(result_object *result, const char *name, uint64_t seq)
{
    const char *quote = result->is_json ? "\"" : "";
    begin_member(result, name);
    text_print(&result->text, "%s%" PRIu64 "%s", quote, seq, quote);
    end_member(result);
}

void result_bool(result_object *result, const char *name, bool value)
{
    begin_member(result, name);
    text_print(&result->text, "%s",
               result->is_json ? value ? "true" : "false"
               : value         ? "yes"
                               : "no");
    end_member(result);
}

void result_open(result_object *result, const char *name)
{
    if (!result->is_json) {
        text_print(&result->text, "\n%s\n", name);
        return;
    }
    begin_member(result, name);
    text_print(&result->text, "{");
    result->separator = "";
}

void result_close(result_object *result)
{
    if (!result->is_json) {
        text_print(&result->text, "\n");
        return;
    }
    text_print(&result->text, "}");
    result->separator = ",";
}

void result_losses(result_object *result, const store_survey *found)
{
    if (!result->is_json) {
        result_number(result, "losses", found->losses_told);
        if (found->lost_records > 0)
            result_number(result, "lost_records", found->lost_records);
        return;
    }
    result_number(result, "lost_records", found->lost_records);
    begin_member(result, "losses");
    text_print(&result->text, "[");
    for (size_t i = 0; i < found->loss_count; i++) {
        text_print(&result->text, "%s", i > 0 ? "," : "");
        text_string(&result->text, lp_str_of(found->losses[i]));
    }
    text_print(&result->text, "]");
}

int result_end(result_object *result, int status)
{
    lp_error error = {0};
    output_file out;
    interrupt_forget();
    if (result->is_json)
        text_print(&result->text, "}\n");
    int failed = result->text.failed ? lp_error_set(&error, LP_ENOMEM, "out of memory") : LP_OK;
    if (failed == LP_OK)
        failed = output_open(&out, NULL, &error);
    if (failed == LP_OK) {
        failed = output_put(&out, (lp_str){result->text.base, result->text.len}, &error);
        if (failed == LP_OK)
            failed = output_commit(&out, &error);
        else
            output_abandon(&out);
    }
    free(result->text.base);
    return failed == LP_OK ? status : say_failed(&error);
}

void result_figure(void *ctx, const char *name, uint64_t number, const char *text)
{
    if (text != NULL)
        result_text(ctx, name, text);
    else if (strcmp(name, "highest") == 0)
        result_seq(ctx, name, number);
    else
        result_number(ctx, name, number);
}
