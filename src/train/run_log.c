#include "run_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "model/source.h"

/* Where the last complete line ends. */
static quire_status find_end(int fd, uint64_t size, uint64_t *end, const char *path, quire_error *err)
{
    char buffer[4096];
    while (size > 0) {
        size_t n = size_min((size_t)size, sizeof buffer);
        quire_status status = sys_read_all(fd, buffer, n, (off_t)(size - n), path, err);
        if (status != QUIRE_OK)
            return status;
        const char *newline = memrchr(buffer, '\n', n);
        size -= n;
        if (newline) {
            *end = size + (uint64_t)(newline - buffer) + 1;
            return QUIRE_OK;
        }
    }
    *end = 0;
    return QUIRE_OK;
}

quire_status run_log_open(struct run_log *out, const char *folder, quire_error *err)
{
    struct run_log log = {.fd = -1, .path = path_join(folder, RUN_LOG_NAME, err)};
    struct stat st;
    quire_status status = log.path ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK) {
        log.fd = sys.open(log.path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (log.fd < 0 || sys.fstat(log.fd, &st) != 0)
            status = sys_fail(err, "open", log.path);
    }
    if (status == QUIRE_OK)
        status = find_end(log.fd, (uint64_t)st.st_size, &log.n_bytes, log.path, err);
    if (status == QUIRE_OK && log.n_bytes < (uint64_t)st.st_size && sys.ftruncate(log.fd, (off_t)log.n_bytes) != 0)
        status = quire_fail(err, QUIRE_ERR_IO, "cannot shorten '%s': %s", log.path, strerror(errno));
    if (status == QUIRE_OK)
        *out = log;
    else
        run_log_close(&log);
    return status;
}

void run_log_close(struct run_log *log)
{
    if (log->fd >= 0)
        sys.close(log->fd);
    free(log->path);
    *log = (struct run_log){.fd = -1};
}

quire_status run_log_add(struct run_log *log, json_t *object, quire_error *err)
{
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    size_t n = text ? strlen(text) : 0;
    json_decref(object);
    if (!text)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a line of '%s'", log->path);
    text[n++] = '\n'; /* in the place of the NUL */
    quire_status status = sys_write_all(log->fd, text, n, (off_t)log->n_bytes, log->path, err);
    if (status == QUIRE_OK)
        log->n_bytes += n;
    free(text);
    return status;
}

bool run_log_has(const struct run_log *log, const char *event, uint64_t step)
{
    struct sys_map map;
    char begin[96];
    if (sys_map_file(&map, log->path, NULL) != QUIRE_OK)
        return false;
    /* As training_log begins a line, and run_log_add writes it. */
    int n = snprintf(begin, sizeof begin, "{\"event\":\"%s\",\"step\":%" PRIu64 ",", event, step);
    bool has = memmem(map.data, map.n_bytes, begin, (size_t)n) != NULL;
    sys_unmap(&map);
    return has;
}
