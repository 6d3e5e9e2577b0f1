#include "kv/kv_about.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/sys.h"
#include "base/utf8.h"

static const char first_line[] = "quire kv book\n";

/* One row for each line of text after the first; the dates and the checksum follow. */
static const struct {
    const char *name;
    size_t offset, size;
} fields[] = {
    {"label", offsetof(struct kv_about, label), sizeof((struct kv_about *)0)->label},
    {"words", offsetof(struct kv_about, words), sizeof((struct kv_about *)0)->words},
    {"model", offsetof(struct kv_about, model), sizeof((struct kv_about *)0)->model},
    {"tokenizer", offsetof(struct kv_about, tokenizer), sizeof((struct kv_about *)0)->tokenizer},
};
enum { N_FIELDS = sizeof fields / sizeof fields[0] };

void kv_about_set(char *field, size_t size, const char *text, size_t n)
{
    size_t n_out = 0;
    bool is_space = true; /* none at the beginning */
    for (size_t at = 0; at < n && n_out + UTF8_REPLACEMENT_BYTES < size;) {
        unsigned char byte = (unsigned char)text[at];
        size_t n_control = byte <= 0x20 || byte == 0x7F;
        if (byte == 0xC2 && at + 1 < n && (unsigned char)text[at + 1] >= 0x80 && (unsigned char)text[at + 1] < 0xA0)
            n_control = 2; /* U+0080 to U+009F, which a terminal may obey */
        if (n_control > 0) {
            if (!is_space)
                field[n_out++] = ' ';
            is_space = true;
            at += n_control;
            continue;
        }
        /* One character, or one invalid part. */
        size_t n_char = 1;
        while (n_char < UTF8_MAX && at + n_char < n && ((unsigned char)text[at + n_char] & 0xC0) == 0x80)
            n_char++;
        struct utf8_scan scan = utf8_scan((const unsigned char *)text + at, n_char);
        if (scan.n_valid > 0 && n_out + scan.n_valid >= size)
            break;
        is_space = false;
        memcpy(field + n_out, scan.n_valid > 0 ? text + at : UTF8_REPLACEMENT,
               scan.n_valid > 0 ? scan.n_valid : UTF8_REPLACEMENT_BYTES);
        n_out += scan.n_valid > 0 ? scan.n_valid : UTF8_REPLACEMENT_BYTES;
        at += scan.n_valid > 0 ? scan.n_valid : size_max(scan.n_invalid, n_char);
    }
    field[n_out > 0 && field[n_out - 1] == ' ' ? n_out - 1 : n_out] = '\0';
}

size_t kv_about_format(char text[KV_ABOUT_MAX], const struct kv_about *about)
{
    size_t n = (size_t)snprintf(text, KV_ABOUT_MAX, "%s", first_line);
    for (size_t i = 0; i < N_FIELDS; i++)
        n += (size_t)snprintf(text + n, KV_ABOUT_MAX - n, "%s %s\n", fields[i].name,
                              (const char *)about + fields[i].offset);
    n += (size_t)snprintf(text + n, KV_ABOUT_MAX - n, "created %" PRId64 "\n", about->created);
    n += (size_t)snprintf(text + n, KV_ABOUT_MAX - n, "checksum %016" PRIx64 "\n", hash64(text, n));
    return n;
}
_Static_assert(sizeof(struct kv_about) + 256 < KV_ABOUT_MAX, "an about file has room for every field");

/* The line "name value" at *at; false where it is not that. Moves *at behind it. */
static bool read_line(const char **at, const char *end, const char *name, char *value, size_t size)
{
    size_t n_name = strlen(name);
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    if (!stop || (size_t)(stop - *at) < n_name + 1 || memcmp(*at, name, n_name) != 0 || (*at)[n_name] != ' ')
        return false;
    const char *begin = *at + n_name + 1;
    size_t n = (size_t)(stop - begin);
    if (n >= size || memchr(begin, '\0', n))
        return false;
    memcpy(value, begin, n);
    value[n] = '\0';
    *at = stop + 1;
    return true;
}

/* Only what kv_about_format writes is taken: what is written again from what was read must be the same bytes. */
quire_status kv_about_parse(struct kv_about *out, const char *text, size_t n_bytes, const char *name, quire_error *err)
{
    struct kv_about about = {0};
    char number[32], again[KV_ABOUT_MAX];
    const char *at = text, *end = text + n_bytes;
    bool is_fine = n_bytes > strlen(first_line) && memcmp(text, first_line, strlen(first_line)) == 0;
    at += is_fine ? strlen(first_line) : 0;
    for (size_t i = 0; i < N_FIELDS && is_fine; i++) {
        char *field = (char *)&about + fields[i].offset;
        char value[sizeof about.label + sizeof about.words + sizeof about.tokenizer];
        is_fine = read_line(&at, end, fields[i].name, value, fields[i].size);
        if (is_fine)
            kv_about_set(field, fields[i].size, value, strlen(value));
    }
    is_fine = is_fine && read_line(&at, end, "created", number, sizeof number);
    about.created = is_fine ? strtoll(number, NULL, 10) : 0;
    is_fine = is_fine && kv_about_format(again, &about) == n_bytes && memcmp(again, text, n_bytes) == 0;
    if (!is_fine)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged or was made by hand (KV-6)", name);
    *out = about;
    return QUIRE_OK;
}

quire_status kv_about_write(const char *folder, const struct kv_about *about, quire_error *err)
{
    char text[KV_ABOUT_MAX];
    size_t n = kv_about_format(text, about);
    return kv_file_replace(folder, "about", text, n, NULL, err);
}

quire_status kv_about_read(struct kv_about *out, const char *folder, quire_error *err)
{
    char path[KV_PATH_SIZE], text[KV_ABOUT_MAX];
    uint64_t n_bytes = 0;
    bool is_missing = false;
    quire_error why = {0};
    int fd = -1;
    *out = (struct kv_about){0};
    kv_path(path, folder, "about");
    quire_status status = kv_file_open(&fd, path, O_RDONLY, &is_missing, &why);
    if (is_missing)
        return QUIRE_OK;
    if (status == QUIRE_OK)
        status = kv_file_size(fd, &n_bytes, path, &why);
    if (status == QUIRE_OK && n_bytes > sizeof text)
        status = quire_fail(&why, QUIRE_ERR_FORMAT, "'%s' has %llu bytes, expected at most %zu", path,
                            (unsigned long long)n_bytes, sizeof text);
    if (status == QUIRE_OK)
        status = sys_read_all(fd, text, n_bytes, 0, path, &why);
    kv_file_close(&fd);
    if (status == QUIRE_OK)
        status = kv_about_parse(out, text, n_bytes, path, &why);
    return status == QUIRE_OK ? QUIRE_OK : quire_fail(err, status, "%s", why.message);
}
