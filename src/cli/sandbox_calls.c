/* The filter of system calls, by libseccomp, which knows their numbers on every architecture.
 *
 * What is not on the list fails with ENOSYS, as on a kernel that does not have it: the C library then takes the older
 * call that is (clone for clone3, whose flags a filter could not see). A list of what is allowed, because the calls
 * that are not needed are many and grow, and the ones that are needed are few; an error and not a kill, because a
 * library that tries something new has another way when it fails. The few calls that somebody who got in would make
 * first are refused by name with EPERM, which reads better in a message. */
#include <errno.h>

#include "sandbox.h"

#ifdef QUIRE_SANITIZED

int sandbox_filter_calls(void)
{
    return ENOTSUP;
}

#else

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

/* Names that the library or the architecture does not know are passed over. */
static const char *const allowed[] = {
    /* memory */
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "mincore",
    "msync",
    "membarrier",
    /* files; Landlock says which */
    "close",
    "close_range",
    "read",
    "pread64",
    "readv",
    "preadv",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "lseek",
    "_llseek",
    "stat",
    "fstat",
    "lstat",
    "newfstatat",
    "fstatat64",
    "stat64",
    "fstat64",
    "lstat64",
    "statx",
    "statfs",
    "fstatfs",
    "statfs64",
    "fstatfs64",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getdents64",
    "getcwd",
    "ftruncate",
    "ftruncate64",
    "fallocate",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "sync_file_range2",
    "fadvise64",
    "fadvise64_64",
    "arm_fadvise64_64",
    "readahead",
    "copy_file_range",
    "flock",
    "dup",
    "dup2",
    "dup3",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "io_uring_enter",
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "eventfd2",
    /* threads and time */
    "exit",
    "exit_group",
    "futex",
    "futex_time64",
    "set_robust_list",
    "get_robust_list",
    "rseq",
    "set_tid_address",
    "gettid",
    "getpid",
    "sched_yield",
    "sched_getaffinity",
    "getcpu",
    "nanosleep",
    "clock_nanosleep",
    "clock_nanosleep_time64",
    "clock_gettime",
    "clock_gettime64",
    "clock_getres",
    "gettimeofday",
    "time",
    "times",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigreturn",
    "rt_sigtimedwait",
    "sigaltstack",
    /* who and where we are */
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "uname",
    "sysinfo",
    "getrusage",
    "getrlimit",
    "getrandom",
};

static const char *const refused[] = {
    "socket",         "socketpair",       "connect",
    "bind",           "sendto",           "sendmsg",
    "execve",         "execveat",         "fork",
    "vfork",          "ptrace",           "kill",
    "io_uring_setup", "process_vm_readv", "process_vm_writev",
};

static void add_names(scmp_filter_ctx filter, uint32_t action, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int call = seccomp_syscall_resolve_name(names[i]);
        if (call != __NR_SCMP_ERROR)
            seccomp_rule_add(filter, action, call, 0);
    }
}

static int allow_with(scmp_filter_ctx filter, int call, struct scmp_arg_cmp condition)
{
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &condition);
}

/* Calls that are needed in one form only. */
static int add_conditions(scmp_filter_ctx filter)
{
    const uint64_t low = UINT32_MAX; /* of arguments that are int, the kernel looks at no more */
    const struct {
        int call;
        struct scmp_arg_cmp condition; /* argument, comparison, mask or limit, value */
    } rows[] = {
        {SCMP_SYS(mmap), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
        {SCMP_SYS(mmap2), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
        {SCMP_SYS(mprotect), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
        {SCMP_SYS(clone), {0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD}},
        {SCMP_SYS(tgkill), {0, SCMP_CMP_MASKED_EQ, low, (uint64_t)getpid()}},
        /* Not to read and truncate, nor with no access and truncate: Landlock before version 3 lets that be done to any
         * file. */
        {SCMP_SYS(open), {1, SCMP_CMP_MASKED_EQ, O_TRUNC, 0}},
        {SCMP_SYS(open), {1, SCMP_CMP_MASKED_EQ, O_TRUNC | O_ACCMODE, O_TRUNC | O_WRONLY}},
        {SCMP_SYS(openat), {2, SCMP_CMP_MASKED_EQ, O_TRUNC, 0}},
        {SCMP_SYS(openat), {2, SCMP_CMP_MASKED_EQ, O_TRUNC | O_ACCMODE, O_TRUNC | O_WRONLY}},
        /* F_SETOWN and F_SETSIG would send signals to anybody. */
        {SCMP_SYS(fcntl), {1, SCMP_CMP_MASKED_EQ, low, F_GETFD}},
        {SCMP_SYS(fcntl), {1, SCMP_CMP_MASKED_EQ, low, F_SETFD}},
        {SCMP_SYS(fcntl), {1, SCMP_CMP_MASKED_EQ, low, F_GETFL}},
        {SCMP_SYS(fcntl), {1, SCMP_CMP_MASKED_EQ, low, F_SETFL}},
        {SCMP_SYS(fcntl), {1, SCMP_CMP_MASKED_EQ, low, F_DUPFD_CLOEXEC}},
        {SCMP_SYS(fcntl64), {1, SCMP_CMP_MASKED_EQ, low, F_GETFD}},
        {SCMP_SYS(fcntl64), {1, SCMP_CMP_MASKED_EQ, low, F_SETFD}},
        {SCMP_SYS(fcntl64), {1, SCMP_CMP_MASKED_EQ, low, F_GETFL}},
        {SCMP_SYS(fcntl64), {1, SCMP_CMP_MASKED_EQ, low, F_SETFL}},
        {SCMP_SYS(fcntl64), {1, SCMP_CMP_MASKED_EQ, low, F_DUPFD_CLOEXEC}},
        /* Of an open file: of names Landlock says nothing. */
        {SCMP_SYS(utimensat), {1, SCMP_CMP_EQ, 0, 0}},
        /* Of a ring that is there, which the kernel holds to its list; -1 would be none in particular. */
        {SCMP_SYS(io_uring_register), {0, SCMP_CMP_LE, INT32_MAX, 0}},
        {SCMP_SYS(prlimit64), {2, SCMP_CMP_EQ, 0, 0}}, /* asks, sets nothing */
        /* ARCH_REQ_XCOMP_PERM: asks for AMX's registers. */
        {SCMP_SYS(arch_prctl), {0, SCMP_CMP_MASKED_EQ, low, 0x1023}},
        /* On a terminal others could type commands. */
        {SCMP_SYS(ioctl), {1, SCMP_CMP_MASKED_EQ, low, TCGETS}},
        {SCMP_SYS(ioctl), {1, SCMP_CMP_MASKED_EQ, low, 0x802C542A}}, /* TCGETS2, which newer C libraries take */
        {SCMP_SYS(ioctl), {1, SCMP_CMP_MASKED_EQ, low, TIOCGWINSZ}},
    };
    int status = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && status == 0; i++)
        status = allow_with(filter, rows[i].call, rows[i].condition);
    return status;
}

int sandbox_filter_calls(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (!filter)
        return ENOMEM;
    add_names(filter, SCMP_ACT_ALLOW, allowed, sizeof allowed / sizeof *allowed);
    add_names(filter, SCMP_ACT_ERRNO(EPERM), refused, sizeof refused / sizeof *refused);
    int status = add_conditions(filter);
    if (status == 0)
        status = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    /* Kernels before 5.16 take a filter as a wish to be slowed down by a mitigation for interpreters of strangers'
     * code. */
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    if (status == 0)
        status = seccomp_load(filter);
    seccomp_release(filter);
    return -status;
}

#endif
