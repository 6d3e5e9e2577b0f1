#include "files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die(const char *what, const char *path)
{
    fprintf(stderr, "test set-up: cannot %s '%s'\n", what, path);
    exit(1);
}

void bytes_add(struct bytes *bytes, const void *data, size_t n)
{
    if (bytes->n + n > bytes->capacity) {
        bytes->capacity = 2 * (bytes->n + n);
        bytes->data = realloc(bytes->data, bytes->capacity);
        if (!bytes->data)
            die("grow", "bytes");
    }
    if (n > 0)
        memcpy(bytes->data + bytes->n, data, n);
    bytes->n += n;
}

void bytes_add_u32(struct bytes *bytes, uint32_t value)
{
    bytes_add(bytes, &value, sizeof value);
}

void bytes_add_u64(struct bytes *bytes, uint64_t value)
{
    bytes_add(bytes, &value, sizeof value);
}

void bytes_add_f32(struct bytes *bytes, float value)
{
    bytes_add(bytes, &value, sizeof value);
}

void bytes_add_string(struct bytes *bytes, const char *text)
{
    bytes_add_u64(bytes, strlen(text));
    bytes_add(bytes, text, strlen(text));
}

void bytes_pad(struct bytes *bytes, size_t step)
{
    while (bytes->n % step != 0)
        bytes_add(bytes, "", 1);
}

void bytes_release(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

char *folder_make(void)
{
    const char *parent = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/quire-test-XXXXXX", parent && *parent ? parent : "/tmp") < 0 || !mkdtemp(path))
        die("make a folder in", parent ? parent : "/tmp");
    return path;
}

void folder_remove(char *folder)
{
    DIR *dir = opendir(folder);
    char path[4096];
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < (int)sizeof path && entry->d_name[0] != '.')
            unlink(path);
    if (dir)
        closedir(dir);
    rmdir(folder);
    free(folder);
}

const char *file_write(const char *folder, const char *name, const void *data, size_t n)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f || (n > 0 && fwrite(data, 1, n, f) != n) || fclose(f) != 0)
        die("write", path);
    return path;
}

struct bytes file_read(const char *path)
{
    struct bytes bytes = {0};
    unsigned char part[4096];
    FILE *f = fopen(path, "rb");
    if (!f)
        die("read", path);
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        bytes_add(&bytes, part, n);
    fclose(f);
    return bytes;
}

const char *golden_path(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/tests/golden/%s", QUIRE_SOURCE_DIR, name);
    return path;
}
