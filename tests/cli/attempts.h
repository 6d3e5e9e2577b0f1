/* What somebody would try who has taken over a parser. Each attempt gives 0 where it worked, else errno, and undoes
 * what it did. */
#ifndef QUIRE_TESTS_CLI_ATTEMPTS_H
#define QUIRE_TESTS_CLI_ATTEMPTS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int close_or_errno(long fd)
{
    if (fd < 0)
        return errno;
    close((int)fd);
    return 0;
}

static int try_inet_socket(void)
{
    return close_or_errno(socket(AF_INET, SOCK_STREAM, 0));
}

static int try_datagram_socket(void)
{
    return close_or_errno(socket(AF_INET, SOCK_DGRAM, 0));
}

static int try_unix_socket(void)
{
    return close_or_errno(socket(AF_UNIX, SOCK_STREAM, 0));
}

/* A ring's operations would open sockets unseen by a filter. */
static int try_ring(void)
{
    struct io_uring_params params = {0};
    return close_or_errno(syscall(SYS_io_uring_setup, 4, &params));
}

static int try_fork(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child < 0)
        return errno;
    waitpid(child, NULL, 0);
    return 0;
}

/* A program that cannot be there: only whether the call is let through is asked. */
static int try_exec(void)
{
    char *const words[] = {NULL};
    execve("/nonexistent/program", words, words);
    return errno == ENOENT ? 0 : errno;
}

static int try_trace(void)
{
    return syscall(SYS_ptrace, PTRACE_PEEKDATA, getppid(), 0, 0) == 0 || errno == ESRCH || errno == EIO ? 0 : errno;
}

static int try_signal(void)
{
    return kill(getppid(), 0) == 0 ? 0 : errno;
}

static int try_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int failed = mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0 ? 0 : errno;
    munmap(page, 4096);
    return failed;
}

/* Makes and removes a file. */
static int try_write(const char *path)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    close(fd);
    unlink(path);
    return 0;
}

static int try_read(const char *path)
{
    return close_or_errno(open(path, O_RDONLY | O_CLOEXEC));
}

/* What the kernel would send its signals to. */
static int try_signal_owner(void)
{
    int ends[2];
    if (pipe(ends) != 0)
        return errno;
    int failed = fcntl(ends[0], F_SETOWN, getppid()) == 0 ? 0 : errno;
    close(ends[0]);
    close(ends[1]);
    return failed;
}

static int try_empty_by_reading(void)
{
    return close_or_errno(open("/dev/null", O_RDONLY | O_TRUNC | O_CLOEXEC));
}

static int try_times(void)
{
    return utimensat(AT_FDCWD, ".", NULL, 0) == 0 ? 0 : errno;
}

static const struct attempt {
    const char *name;
    int (*run)(void);
    int refused; /* errno in the sandbox */
} attempts[] = {
    {"inet socket", try_inet_socket, EPERM},
    {"datagram socket", try_datagram_socket, EPERM},
    {"unix socket", try_unix_socket, EPERM},
    {"ring", try_ring, EPERM},
    {"fork", try_fork, ENOSYS},
    {"exec", try_exec, EPERM},
    {"trace", try_trace, EPERM},
    {"signal", try_signal, EPERM},
    {"owner of signals", try_signal_owner, ENOSYS},
    {"emptying", try_empty_by_reading, ENOSYS},
    {"times", try_times, ENOSYS},
    {"code", try_code, ENOSYS},
};
enum { N_ATTEMPTS = sizeof attempts / sizeof *attempts };

#endif
