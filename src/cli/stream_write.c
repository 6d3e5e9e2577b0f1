#include "stream_write.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "interrupt.h"

/* The longest beginning of at most `most` bytes that ends with a line, or where there is no line end, with a character.
 * What is not UTF-8 is cut anywhere. */
static size_t whole_part(const char *bytes, size_t n, size_t most)
{
    enum { LONGEST_CHARACTER = 4 };
    if (n <= most)
        return n;
    const char *line_end = memrchr(bytes, '\n', most);
    if (line_end)
        return (size_t)(line_end - bytes) + 1;
    for (size_t end = most; end > 0 && most - end < LONGEST_CHARACTER; end--)
        if (((unsigned char)bytes[end] & 0xC0) != 0x80)
            return end;
    return most;
}

/* So much has been written, and the last of it may be half of something. Another process may have written behind it:
 * then it stays. */
static size_t cut_back(int fd, const char *bytes, size_t n, size_t n_written)
{
    size_t n_whole = whole_part(bytes, n, n_written);
    int saved = errno;
    struct stat st;
    off_t end = lseek(fd, 0, SEEK_CUR), whole_end = end - (off_t)(n_written - n_whole);
    if (n_whole < n_written && end >= 0 && fstat(fd, &st) == 0 && st.st_size == end && ftruncate(fd, whole_end) == 0) {
        lseek(fd, whole_end, SEEK_SET);
        n_written = n_whole;
    }
    errno = saved;
    return n_written;
}

static bool is_regular(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* One part; true: it was written. A pipe takes up to PIPE_BUF bytes in one piece, and poll(2) says when it has room for
 * them: such a write does not wait, so that no signal can come too late for it. */
static bool write_part(int fd, bool is_file, const char *bytes, size_t n, size_t *n_written)
{
    for (size_t done = 0; done < n;) {
        if (!is_file && !interrupt_wait_writable(fd)) {
            errno = ECANCELED;
            return false;
        }
        ssize_t got = write(fd, bytes + done, n - done);
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        done += got > 0 ? (size_t)got : 0;
        *n_written += got > 0 ? (size_t)got : 0;
    }
    return true;
}

size_t stream_write(int fd, const char *bytes, size_t n)
{
    size_t n_written = 0;
    bool is_file = is_regular(fd);
    while (n_written < n) {
        size_t part = is_file ? n - n_written : whole_part(bytes + n_written, n - n_written, PIPE_BUF);
        if (!write_part(fd, is_file, bytes + n_written, part, &n_written))
            return is_file ? cut_back(fd, bytes, n, n_written) : n_written;
    }
    return n;
}
