/* The test harness: a table of named tests, checks that print both values and go on, a seeded generator.
 *
 *     static void adds(void) { CHECK_EQ_INT(1 + 1, 2); }
 *     static const struct test tests[] = {{"adds", adds}};
 *     TEST_MAIN(tests)
 *
 * A program given names runs only those tests. Exit status 0 when all passed, 1 when one failed, 77 when every test
 * that ran was skipped. A test skips itself, with its reason, by `SKIP("...")`. */
#ifndef QUIRE_TESTS_TEST_H
#define QUIRE_TESTS_TEST_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quire/error.h"

struct test {
    const char *name;
    void (*run)(void);
};

/* Weak, so that the files of a program share them: a check in a helper counts, too. */
__attribute__((weak)) int test_n_failed_checks;
__attribute__((weak)) const char *test_skipped;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            test_n_failed_checks++;                                                                                    \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                                    \
        }                                                                                                              \
    } while (0)

#define CHECK_EQ_INT(got, want)                                                                                        \
    do {                                                                                                               \
        long long got_ = (long long)(got), want_ = (long long)(want);                                                  \
        if (got_ != want_) {                                                                                           \
            test_n_failed_checks++;                                                                                    \
            fprintf(stderr, "%s:%d: %s is %lld, expected %lld\n", __FILE__, __LINE__, #got, got_, want_);              \
        }                                                                                                              \
    } while (0)

/* False, and so a failure, when either is NaN. */
#define CHECK_NEAR(got, want, tolerance)                                                                               \
    do {                                                                                                               \
        double got_ = (got), want_ = (want), tolerance_ = (tolerance);                                                 \
        if (!(fabs(got_ - want_) <= tolerance_)) {                                                                     \
            test_n_failed_checks++;                                                                                    \
            fprintf(stderr, "%s:%d: %s is %.9g, expected %.9g within %g\n", __FILE__, __LINE__, #got, got_, want_,     \
                    tolerance_);                                                                                       \
        }                                                                                                              \
    } while (0)

#define CHECK_EQ_STR(got, want)                                                                                        \
    do {                                                                                                               \
        const char *got_ = (got), *want_ = (want);                                                                     \
        if (strcmp(got_, want_) != 0) {                                                                                \
            test_n_failed_checks++;                                                                                    \
            fprintf(stderr, "%s:%d: %s is \"%s\", expected \"%s\"\n", __FILE__, __LINE__, #got, got_, want_);          \
        }                                                                                                              \
    } while (0)

/* The message of err contains the text. */
#define CHECK_MESSAGE(err, text)                                                                                       \
    do {                                                                                                               \
        if (!strstr((err).message, (text))) {                                                                          \
            test_n_failed_checks++;                                                                                    \
            fprintf(stderr, "%s:%d: message is \"%s\", expected it to contain \"%s\"\n", __FILE__, __LINE__,           \
                    (err).message, (text));                                                                            \
        }                                                                                                              \
    } while (0)

/* The call succeeds; prints the message where it does not. Needs a quire_error named err. */
#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        quire_status status_ = (call);                                                                                 \
        if (status_ != QUIRE_OK) {                                                                                     \
            test_n_failed_checks++;                                                                                    \
            fprintf(stderr, "%s:%d: %s: %s (%s)\n", __FILE__, __LINE__, #call, err.message,                            \
                    quire_status_name(status_));                                                                       \
        }                                                                                                              \
    } while (0)

/* As CHECK_OK, and ends the program: for what the rest of the test cannot do without. */
#define REQUIRE_OK(call)                                                                                               \
    do {                                                                                                               \
        quire_status status_ = (call);                                                                                 \
        if (status_ != QUIRE_OK) {                                                                                     \
            fprintf(stderr, "%s:%d: %s: %s (%s)\n", __FILE__, __LINE__, #call, err.message,                            \
                    quire_status_name(status_));                                                                       \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define SKIP(reason)                                                                                                   \
    do {                                                                                                               \
        test_skipped = (reason);                                                                                       \
        return;                                                                                                        \
    } while (0)

/* Numbers that are the same on every machine for a seed (splitmix64). */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Uniform in [-1, 1). */
static inline float test_random_float(uint64_t *state)
{
    return (float)((double)(test_random(state) >> 11) * 0x1p-52 - 1.0);
}

/* The folder with the large test material, or NULL: see QUIRE_TEST_DATA in CONTRIBUTING.md. */
static inline const char *test_data_folder(void)
{
    const char *folder = getenv("QUIRE_TEST_DATA");
    return folder && *folder ? folder : NULL;
}

static inline int test_main(const struct test *tests, size_t n_tests, int argc, char **argv)
{
    size_t n_passed = 0, n_failed = 0, n_skipped = 0;
    for (size_t i = 0; i < n_tests; i++) {
        bool is_wanted = argc < 2;
        for (int a = 1; a < argc; a++)
            is_wanted = is_wanted || strcmp(argv[a], tests[i].name) == 0;
        if (!is_wanted)
            continue;
        test_n_failed_checks = 0;
        test_skipped = NULL;
        tests[i].run();
        if (test_n_failed_checks > 0) {
            n_failed++;
            printf("FAIL %s\n", tests[i].name);
        } else if (test_skipped) {
            n_skipped++;
            printf("skip %s: %s\n", tests[i].name, test_skipped);
        } else {
            n_passed++;
            printf("ok   %s\n", tests[i].name);
        }
        fflush(stdout);
    }
    printf("%zu passed, %zu failed, %zu skipped\n", n_passed, n_failed, n_skipped);
    if (n_failed > 0)
        return 1;
    if (n_passed + n_skipped == 0) /* no test has that name */
        return 1;
    return n_passed == 0 ? 77 : 0;
}

#define TEST_MAIN(tests)                                                                                               \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        return test_main(tests, sizeof(tests) / sizeof((tests)[0]), argc, argv);                                       \
    }

#endif
