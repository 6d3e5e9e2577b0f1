/* A bug in a parser, for test_cli_process.py: preloaded, it stands before the JSON library's parser, and once that is
 * to parse a stranger's file tries what somebody would who had taken it over. On standard error, a line for each
 * attempt: its name, a colon, and the error or "works". BUG_WRITES and BUG_READS name files. */
#include <dlfcn.h>
#include <jansson.h>
#include <stdlib.h>

#include "attempts.h"

static void say(const char *name, int error)
{
    fprintf(stderr, "bug: %s: %s\n", name, error == 0 ? "works" : strerrorname_np(error));
}

__attribute__((visibility("default"))) json_t *json_loadb(const char *text, size_t n, size_t flags, json_error_t *error)
{
    json_t *(*real)(const char *, size_t, size_t, json_error_t *) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "json_loadb");
    for (size_t i = 0; i < N_ATTEMPTS; i++)
        say(attempts[i].name, attempts[i].run());
    say("write", try_write(getenv("BUG_WRITES")));
    say("read", try_read(getenv("BUG_READS")));
    return real(text, n, flags, error);
}
