/* Writing a configuration down, and comparing it with one that was. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/c_locale.h"
#include "train_config.h"

static const void *field_of(const struct train_config *config, const struct train_config_row *row)
{
    return (const char *)config + row->offset;
}

/* The shortest of the usual forms that reads back as the same number. */
static void format_number(char *text, size_t size, double value)
{
    locale_t before = c_locale_begin();
    double back = NAN;
    for (int digits = 6; digits <= 17 && back != value; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        back = strtod(text, NULL);
    }
    c_locale_end(before);
}

/* In single quotes where it does not plainly stand for itself. */
static void format_text(char *text, size_t size, const char *value)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+";
    bool is_plain =
        value[0] != '\0' && value[0] != '-' && strspn(value, plain) == strlen(value) && strcmp(value, "null") != 0;
    size_t n = 0;
    if (is_plain) {
        snprintf(text, size, "%s", value);
        return;
    }
    text[n++] = '\'';
    for (; *value && n + 3 < size; value++) {
        if (*value == '\'')
            text[n++] = '\'';
        text[n++] = *value;
    }
    text[n++] = '\'';
    text[n] = '\0';
}

void train_config_format(char *text, size_t size, const struct train_config *config, const struct train_config_row *row)
{
    const void *field = field_of(config, row);
    switch (row->kind) {
    case CONFIG_COUNT: snprintf(text, size, "%" PRIu32, *(const uint32_t *)field); break;
    case CONFIG_COUNT64: snprintf(text, size, "%" PRIu64, *(const uint64_t *)field); break;
    case CONFIG_NUMBER: format_number(text, size, *(const double *)field); break;
    case CONFIG_PAIR: {
        char first[32], second[32];
        format_number(first, sizeof first, ((const double *)field)[0]);
        format_number(second, sizeof second, ((const double *)field)[1]);
        snprintf(text, size, "[%s, %s]", first, second);
        break;
    }
    case CONFIG_FLAG: snprintf(text, size, "%s", *(const bool *)field ? "true" : "false"); break;
    case CONFIG_TEXT: format_text(text, size, *(char *const *)field); break;
    case CONFIG_CHOICE: snprintf(text, size, "%s", row->choices[*(const uint32_t *)field]); break;
    case CONFIG_DURATION: {
        const struct duration *duration = field;
        snprintf(text, size, "%" PRIu64 "%s", duration->n, duration->is_tokens ? "tok" : "ba");
        break;
    }
    }
    if (row->null_is && strcmp(text, "0") == 0)
        snprintf(text, size, "null");
}

json_t *train_config_json(const struct train_config *config)
{
    json_t *object = json_object();
    for (size_t i = 0; i < n_train_config_rows && object; i++) {
        char text[8200];
        train_config_format(text, sizeof text, config, &train_config_rows[i]);
        json_t *value = json_string(text);
        if (!value) /* a path may be any bytes */
            value = json_string("(not UTF-8)");
        if (json_object_set_new(object, train_config_rows[i].key, value) != 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

quire_status train_config_check_same(const struct train_config *config, const json_t *saved, const char *path,
                                     quire_error *err)
{
    char message[700] = "", text[8200];
    for (size_t i = 0; i < n_train_config_rows; i++) {
        const struct train_config_row *row = &train_config_rows[i];
        const char *before = json_string_value(json_object_get(saved, row->key));
        train_config_format(text, sizeof text, config, row);
        if (row->may_change || (before && strcmp(before, text) == 0))
            continue;
        size_t n = strlen(message);
        snprintf(message + n, sizeof message - n, "%s%s is %.60s, was %.60s", n > 0 ? "; " : "", row->key, text,
                 before ? before : "not there");
    }
    if (message[0] == '\0')
        return QUIRE_OK;
    return quire_fail(err, QUIRE_ERR_MISMATCH,
                      "this configuration is not the one of '%s': %s; put these back, or name another save_folder",
                      path, message);
}
