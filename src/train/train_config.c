/* Reading a configuration: from the entries of a YAML file to values, row by row. */
#include "train_config.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/c_locale.h"
#include "base/mem.h"
#include "base/sys.h"
#include "yaml.h"

enum { MAX_FILE_BYTES = 1 << 20 };

/* --- the nearest key --------------------------------------------------------------------------------------------- */

enum { MAX_KEY = 64 };

/* Letters to change, to add or to leave out between two words; both are cut to MAX_KEY. */
static size_t distance(const char *a, const char *b)
{
    size_t row[MAX_KEY + 1], n_a = strnlen(a, MAX_KEY), n_b = strnlen(b, MAX_KEY);
    for (size_t j = 0; j <= n_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t above = row[j], replaced = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = size_min(replaced, size_min(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[n_b];
}

static const char *last_part(const char *key)
{
    const char *dot = strrchr(key, '.');
    return dot ? dot + 1 : key;
}

/* A key that has the wrong place is as likely as one that is misspelt, so both the whole and the last part count. */
static const char *nearest_key(const char *key)
{
    size_t best = SIZE_MAX;
    const char *found = train_config_rows[0].key;
    for (size_t i = 0; i < n_train_config_rows; i++) {
        const char *candidate = train_config_rows[i].key;
        size_t d = size_min(2 * distance(key, candidate), 2 * distance(last_part(key), last_part(candidate)) + 1);
        if (d < best) {
            best = d;
            found = candidate;
        }
    }
    return found;
}

static const struct train_config_row *find_row(const char *key)
{
    for (size_t i = 0; i < n_train_config_rows; i++)
        if (strcmp(train_config_rows[i].key, key) == 0)
            return &train_config_rows[i];
    return NULL;
}

/* --- one value --------------------------------------------------------------------------------------------------- */

/* What is being read, for messages. */
struct place {
    const struct train_config_row *row;
    const char *path;
    size_t line;
    quire_error *err;
};

static quire_status bad_value(const struct place *p, const char *value, const char *expected)
{
    return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s', line %zu: %s is '%.80s', expected %s", p->path, p->line,
                      p->row->key, value, expected);
}

/* Digits, with underscores between them as YAML 1.1 has it. false where the text is something else. */
static bool read_digits(const char **text, uint64_t *out)
{
    uint64_t n = 0;
    const char *p = *text;
    if (*p < '0' || *p > '9')
        return false;
    for (; (*p >= '0' && *p <= '9') || (*p == '_' && p[1] >= '0' && p[1] <= '9'); p++)
        if (*p != '_' && (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n)))
            return false;
    *text = p;
    *out = n;
    return true;
}

static bool read_number(const char **text, double *out)
{
    char *end;
    errno = 0;
    locale_t before = c_locale_begin();
    *out = strtod(*text, &end);
    c_locale_end(before);
    bool is_number = end != *text && isfinite(*out) && strpbrk(*text, "xXnNiI") == NULL;
    *text = end;
    return is_number;
}

static quire_status read_whole(const struct place *p, const char *value, uint64_t *out)
{
    const char *text = value;
    char expected[128];
    if (read_digits(&text, out) && *text == '\0' && (double)*out >= p->row->least && (double)*out <= p->row->most)
        return QUIRE_OK;
    snprintf(expected, sizeof expected, "a whole number from %.0f to %.0f", p->row->least, p->row->most);
    return bad_value(p, value, expected);
}

static quire_status read_real(const struct place *p, const char *value, const char *text, double *out)
{
    char expected[128];
    if (read_number(&text, out) && *text == '\0' && *out >= p->row->least && *out <= p->row->most)
        return QUIRE_OK;
    snprintf(expected, sizeof expected, "a number from %g to %g", p->row->least, p->row->most);
    return bad_value(p, value, expected);
}

static quire_status read_pair(const struct place *p, const char *value, double out[2])
{
    char first[64];
    const char *comma = strstr(value, ", ");
    if (!comma || (size_t)(comma - value) >= sizeof first)
        return bad_value(p, value, "a list of two numbers, such as [0.9, 0.95]");
    memcpy(first, value, (size_t)(comma - value));
    first[comma - value] = '\0';
    quire_status status = read_real(p, value, first, &out[0]);
    return status == QUIRE_OK ? read_real(p, value, comma + 2, &out[1]) : status;
}

static quire_status read_choice(const struct place *p, const char *value, uint32_t *out)
{
    char expected[256] = "";
    for (uint32_t i = 0; p->row->choices[i]; i++) {
        if (strcmp(p->row->choices[i], value) == 0) {
            *out = i;
            return QUIRE_OK;
        }
        size_t n = strlen(expected);
        snprintf(expected + n, sizeof expected - n, "%s%s",
                 i == 0                   ? ""
                 : p->row->choices[i + 1] ? ", "
                                          : " or ",
                 p->row->choices[i]);
    }
    return bad_value(p, value, expected);
}

static quire_status read_duration(const struct place *p, const char *value, struct duration *out)
{
    const char *text = value;
    struct duration duration = {0};
    bool is_read = read_digits(&text, &duration.n);
    duration.is_tokens = strcmp(text, "tok") == 0;
    if (!is_read || (!duration.is_tokens && strcmp(text, "ba") != 0))
        return bad_value(p, value, "batches or tokens, such as 500ba or 20000000tok");
    if ((double)duration.n < p->row->least || (double)duration.n > p->row->most)
        return bad_value(p, value, p->row->least > 0 ? "more than nothing" : "less");
    *out = duration;
    return QUIRE_OK;
}

/* ${oc.env:NAME} and ${oc.env:NAME,otherwise}, as OmegaConf has them. *out is malloc'ed. */
static quire_status expand(const struct place *p, const char *value, char **out)
{
    char text[4097] = "", name[256];
    size_t n = 0;
    while (*value) {
        const char *piece = value, *end = NULL;
        size_t n_piece = 1;
        if (value[0] == '$' && value[1] == '{') {
            end = strchr(value, '}');
            if (!end || strncmp(value, "${oc.env:", 9) != 0)
                return bad_value(p, value, "no other '${...}' than ${oc.env:NAME} and ${oc.env:NAME,otherwise}");
            const char *start = value + 9, *comma = memchr(start, ',', (size_t)(end - start));
            snprintf(name, sizeof name, "%.*s", (int)((comma ? comma : end) - start), start);
            piece = getenv(name);
            n_piece = piece ? strlen(piece) : 0;
            if (!n_piece && !comma)
                return quire_fail(p->err, QUIRE_ERR_FORMAT,
                                  "'%s', line %zu: %s needs the environment variable %s, which is not set", p->path,
                                  p->line, p->row->key, name);
            if (!n_piece) {
                piece = comma + 1;
                n_piece = (size_t)(end - piece);
            }
        }
        if (n_piece >= sizeof text - n)
            return bad_value(p, value, "a shorter value");
        memcpy(text + n, piece, n_piece);
        n += n_piece;
        text[n] = '\0';
        value = end ? end + 1 : value + 1;
    }
    *out = mem_strdup(text, p->err);
    return *out ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
}

static quire_status read_text(const struct place *p, const char *value, char **out)
{
    if ((double)strlen(value) < p->row->least)
        return bad_value(p, value, "a text");
    free(*out);
    *out = mem_strdup(value, p->err);
    return *out ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
}

static quire_status set_value(struct train_config *config, const struct place *p, const char *value, bool is_null)
{
    void *field = (char *)config + p->row->offset;
    quire_status status = QUIRE_OK;
    uint64_t whole = 0;
    if (is_null && !p->row->null_is)
        return bad_value(p, "null", "a value; leave the key out to have the default");
    switch (p->row->kind) {
    case CONFIG_COUNT:
        status = is_null ? QUIRE_OK : read_whole(p, value, &whole);
        *(uint32_t *)field = (uint32_t)whole;
        return status;
    case CONFIG_COUNT64: return read_whole(p, value, field);
    case CONFIG_NUMBER: *(double *)field = 0; return is_null ? QUIRE_OK : read_real(p, value, value, field);
    case CONFIG_PAIR: return read_pair(p, value, field);
    case CONFIG_FLAG:
        *(bool *)field = strcmp(value, "true") == 0;
        return *(bool *)field || strcmp(value, "false") == 0 ? QUIRE_OK : bad_value(p, value, "true or false");
    case CONFIG_TEXT: return read_text(p, value, field);
    case CONFIG_CHOICE: return read_choice(p, value, field);
    case CONFIG_DURATION: return read_duration(p, value, field);
    }
    return QUIRE_OK;
}

static bool is_null_word(const struct yaml_entry *entry)
{
    return !entry->is_quoted && !entry->is_list &&
           (entry->value[0] == '\0' || strcmp(entry->value, "null") == 0 || strcmp(entry->value, "~") == 0);
}

/* --- the file ---------------------------------------------------------------------------------------------------- */

static quire_status set_defaults(struct train_config *config, quire_error *err)
{
    for (size_t i = 0; i < n_train_config_rows; i++) {
        const struct train_config_row *row = &train_config_rows[i];
        struct place p = {.row = row, .path = "defaults", .err = err};
        const char *value = row->shown_default;
        char inner[64];
        if (!value || (row->null_is && strcmp(value, "null") == 0))
            continue;
        if (row->kind == CONFIG_PAIR || strcmp(value, "''") == 0) { /* without what marks a list or a text */
            snprintf(inner, sizeof inner, "%.*s", (int)strlen(value) - 2, value + 1);
            value = inner;
        }
        quire_status status = set_value(config, &p, value, false);
        if (status != QUIRE_OK)
            return status;
    }
    return QUIRE_OK;
}

static quire_status set_entries(struct train_config *config, struct train_config_given *given, const struct yaml *yaml,
                                const char *path, quire_error *err)
{
    for (size_t i = 0; i < yaml->n_entries; i++) {
        const struct yaml_entry *entry = &yaml->entries[i];
        const struct train_config_row *row = find_row(entry->key);
        if (!row)
            return quire_fail(err, QUIRE_ERR_FORMAT, "'%s', line %zu: unknown key '%.100s'; the nearest one is '%s'",
                              path, entry->line, entry->key, nearest_key(entry->key));
        struct place p = {row, path, entry->line, err};
        if (entry->is_list != (row->kind == CONFIG_PAIR))
            return bad_value(&p, entry->value,
                             entry->is_list ? "one value, not a list" : "a list of two numbers, such as [0.9, 0.95]");
        bool is_null = is_null_word(entry);
        if (is_null && row->kind == CONFIG_TEXT && row->least > 0)
            return bad_value(&p, entry->value, "a text");
        char *value = NULL;
        quire_status status = expand(&p, is_null && row->kind == CONFIG_TEXT ? "" : entry->value, &value);
        if (status == QUIRE_OK)
            status = set_value(config, &p, value, is_null && row->kind != CONFIG_TEXT);
        free(value);
        if (status != QUIRE_OK)
            return status;
        given->line[row - train_config_rows] = entry->line;
    }
    for (size_t i = 0; i < n_train_config_rows; i++)
        if (!train_config_rows[i].shown_default && given->line[i] == 0)
            return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': the key '%s' is missing; it has no default", path,
                              train_config_rows[i].key);
    return QUIRE_OK;
}

quire_status train_config_check_warmup(const struct train_config *c, const char *path, quire_error *err)
{
    char warmup[64], all[64];
    if (train_config_steps(c, c->scheduler.t_warmup) > train_config_steps(c, c->max_duration)) {
        train_config_format(warmup, sizeof warmup, c, find_row("scheduler.t_warmup"));
        train_config_format(all, sizeof all, c, find_row("max_duration"));
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': scheduler.t_warmup, %s, is longer than max_duration, %s", path,
                          warmup, all);
    }
    return QUIRE_OK;
}

/* What no single key can tell. */
static quire_status check_together(const struct train_config *c, const char *path, quire_error *err)
{
    if (c->device_train_microbatch_size > c->global_train_batch_size ||
        c->global_train_batch_size % c->device_train_microbatch_size != 0)
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "'%s': global_train_batch_size %u is not a multiple of device_train_microbatch_size %u", path,
                          c->global_train_batch_size, c->device_train_microbatch_size);
    if (c->holdout.fraction > 0 && c->holdout.list[0])
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s': holdout.fraction and holdout.list exclude each other", path);
    if ((c->holdout.fraction > 0 || c->holdout.list[0]) && c->eval_data.local[0])
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "'%s': holdout takes validation documents from the training data, and "
                          "eval_loader.dataset.local names others; only one of the two can be",
                          path);
    if (c->eval_data.split[0] && !c->eval_data.local[0])
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "'%s': eval_loader.dataset.split is part of eval_loader.dataset.local, which is missing",
                          path);
    /* Otherwise it depends on max_seq_len, which may be a model's. */
    return c->scheduler.t_warmup.is_tokens == c->max_duration.is_tokens ? train_config_check_warmup(c, path, err)
                                                                        : QUIRE_OK;
}

quire_status train_config_parse(struct train_config *out, struct train_config_given *given, const char *text, size_t n,
                                const char *path, quire_error *err)
{
    struct train_config config = {0};
    struct train_config_given named = {0};
    struct yaml yaml = {0};
    quire_status status = yaml_parse(&yaml, text, n, path, err);
    if (status == QUIRE_OK)
        status = set_defaults(&config, err);
    if (status == QUIRE_OK)
        status = set_entries(&config, &named, &yaml, path, err);
    if (status == QUIRE_OK)
        status = check_together(&config, path, err);
    yaml_release(&yaml);
    if (status != QUIRE_OK) {
        train_config_release(&config);
        return status;
    }
    *out = config;
    if (given)
        *given = named;
    return QUIRE_OK;
}

quire_status train_config_load(struct train_config *out, struct train_config_given *given, const char *path,
                               quire_error *err)
{
    char *text;
    size_t n;
    quire_status status = sys_read_file(&text, &n, path, MAX_FILE_BYTES, err);
    if (status != QUIRE_OK)
        return status;
    status = train_config_parse(out, given, text, n, path, err);
    free(text);
    return status;
}

void train_config_release(struct train_config *config)
{
    for (size_t i = 0; i < n_train_config_rows; i++)
        if (train_config_rows[i].kind == CONFIG_TEXT)
            free(*(char **)(void *)((char *)config + train_config_rows[i].offset));
    *config = (struct train_config){0};
}

uint64_t train_config_steps(const struct train_config *config, struct duration duration)
{
    if (!duration.is_tokens)
        return duration.n;
    uint64_t step_tokens = (uint64_t)config->global_train_batch_size * config->model.max_seq_len;
    return duration.n / step_tokens + (duration.n % step_tokens != 0);
}
