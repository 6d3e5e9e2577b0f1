/* The parts of recovery by themselves: checkpoints, the rule of spikes, the schedule, the log. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "run_case.h"
#include "test.h"
#include "train/checkpoint.h"
#include "train/new_file.h"
#include "train/run_log.h"
#include "train/schedule.h"
#include "train/spike.h"

static void save(const char *path, float first)
{
    quire_error err = {0};
    float weights[40] = {first}, momentum[7] = {2};
    struct checkpoint_part parts[] = {{"weights", weights, sizeof weights}, {"momentum", momentum, sizeof momentum}};
    json_t *state = json_pack("{s:i,s:f}", "step", 3, "x", 0.1);
    REQUIRE_OK(checkpoint_save(path, state, parts, 2, &err));
    json_decref(state);
}

static void a_checkpoint_comes_back(void)
{
    quire_error err = {0};
    struct checkpoint c;
    float weights[40], momentum[8];
    save(case_path("one"), 1.5f);
    REQUIRE_OK(checkpoint_open(&c, case_path("one"), &err));
    CHECK_EQ_INT(json_integer_value(json_object_get(c.state, "step")), 3);
    CHECK(json_number_value(json_object_get(c.state, "x")) == 0.1);
    CHECK_OK(checkpoint_read(&c, "weights", weights, sizeof weights, &err));
    CHECK_NEAR((double)weights[0], 1.5, 0);
    CHECK_EQ_INT(checkpoint_read(&c, "momentum", momentum, sizeof momentum, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "has 28 bytes, expected 32");
    err = (quire_error){0};
    CHECK_EQ_INT(checkpoint_read(&c, "variance", momentum, 28, &err), QUIRE_ERR_FORMAT);
    checkpoint_close(&c);
}

/* Each byte but those of the gaps is under a checksum. */
static void any_damage_is_found(void)
{
    quire_error err;
    struct checkpoint c;
    size_t n, n_gap = 0;
    save(case_path("two"), 1.5f);
    unsigned char *bytes = case_read(case_path("two"), &n);
    for (size_t i = 0; i < n; i++) {
        err = (quire_error){0};
        bytes[i] ^= 0x10;
        case_write(case_path("two"), bytes, n);
        bytes[i] ^= 0x10;
        if (checkpoint_open(&c, case_path("two"), &err) == QUIRE_OK) {
            checkpoint_close(&c);
            CHECK_EQ_INT(bytes[i], 0);
            n_gap++;
        }
    }
    CHECK(n_gap < 3 * 64);
    for (size_t cut = 0; cut < n; cut += 5) {
        err = (quire_error){0};
        case_write(case_path("two"), bytes, cut);
        CHECK_EQ_INT(checkpoint_open(&c, case_path("two"), &err), QUIRE_ERR_FORMAT);
    }
    free(bytes);
}

static void the_latest_are_kept(void)
{
    quire_error err = {0};
    uint64_t *steps;
    size_t n;
    char path[CHECKPOINT_PATH_SIZE];
    mkdir(case_path("folder"), 0700);
    for (unsigned step = 5; step < 40; step += 10) {
        checkpoint_path(path, case_path("folder"), step);
        save(path, 1);
    }
    case_write_text(case_path("folder/step-000000099.checkpoint.tmp"), "left by a killed process");
    case_write_text(case_path("folder/step-000000099.checkpoint.damaged"), "put aside");
    case_write_text(case_path("folder/notes.txt"), "not ours");
    REQUIRE_OK(checkpoint_list(&steps, &n, case_path("folder"), &err));
    CHECK_EQ_INT(n, 4);
    CHECK_EQ_INT(steps[0], 35);
    CHECK_EQ_INT(steps[3], 5);
    free(steps);
    checkpoint_prune(case_path("folder"), 2);
    checkpoint_sweep(case_path("folder"));
    REQUIRE_OK(checkpoint_list(&steps, &n, case_path("folder"), &err));
    CHECK_EQ_INT(n, 2);
    CHECK_EQ_INT(steps[1], 25);
    free(steps);
    CHECK(!sys_exists(case_path("folder/step-000000099.checkpoint.tmp")));
    CHECK(sys_exists(case_path("folder/notes.txt")));
    REQUIRE_OK(checkpoint_list(&steps, &n, case_path("absent"), &err));
    CHECK_EQ_INT(n, 0);
    free(steps);
}

static void a_draft_is_one_process_s(void)
{
    quire_error err = {0};
    struct new_file first, second;
    REQUIRE_OK(new_file_open(&first, case_path("drafted"), &err));
    REQUIRE_OK(new_file_write(&first, "first", 5, &err));
    CHECK_EQ_INT(new_file_open(&second, case_path("drafted"), &err), QUIRE_ERR_BUSY);
    CHECK_MESSAGE(err, "another process is making");
    quire_error_clear(&err);
    REQUIRE_OK(new_file_commit(&first, &err));
    REQUIRE_OK(new_file_open(&second, case_path("drafted"), &err));
    new_file_drop(&second);
    size_t n;
    unsigned char *bytes = case_read(case_path("drafted"), &n);
    CHECK(n == 5 && memcmp(bytes, "first", 5) == 0);
    free(bytes);
    case_write_text(case_path("drafted.tmp"), "left by a process that was killed");
    REQUIRE_OK(new_file_open(&first, case_path("drafted"), &err));
    REQUIRE_OK(new_file_commit(&first, &err));
    free(case_read(case_path("drafted"), &n));
    CHECK_EQ_INT(n, 0);
}

/* --- the n-th system call fails ----------------------------------------------------------------------------------- */

static int n_calls, fail_at;

static bool is_now(void)
{
    errno = EIO;
    return ++n_calls == fail_at;
}

static int failing_open(const char *path, int flags, mode_t mode)
{
    return is_now() ? -1 : sys_real.open(path, flags, mode);
}

static ssize_t failing_pwrite(int fd, const void *buffer, size_t n, off_t offset)
{
    return is_now() ? -1 : sys_real.pwrite(fd, buffer, n, offset);
}

static int failing_fallocate(int fd, int mode, off_t offset, off_t n)
{
    return is_now() ? -1 : sys_real.fallocate(fd, mode, offset, n);
}

static int failing_fsync(int fd)
{
    return is_now() ? -1 : sys_real.fsync(fd);
}

static int failing_close(int fd)
{
    bool fails = is_now();
    int result = sys_real.close(fd);
    return fails ? -1 : result;
}

static int failing_rename(const char *from, const char *to)
{
    return is_now() ? -1 : sys_real.rename(from, to);
}

/* Whatever fails, what stood there stands, or what was to come, whole; and no draft is left. */
static void a_checkpoint_is_replaced_whole_or_not_at_all(void)
{
    const char *path = case_path("three");
    quire_status status = QUIRE_ERR_IO;
    json_t *state = json_pack("{s:i}", "step", 4);
    int n_failures = 0;
    for (fail_at = 1; status != QUIRE_OK; fail_at++) {
        quire_error err = {0};
        struct checkpoint c;
        float weights[40] = {7}, found[40];
        struct checkpoint_part part = {"weights", weights, sizeof weights};
        save(path, 1.5f);
        n_calls = 0;
        sys.open = failing_open;
        sys.pwrite = failing_pwrite;
        sys.fallocate = failing_fallocate;
        sys.fsync = failing_fsync;
        sys.close = failing_close;
        sys.rename = failing_rename;
        status = checkpoint_save(path, state, &part, 1, &err);
        sys = sys_real;
        n_failures += status != QUIRE_OK;
        CHECK(status == QUIRE_OK || err.status == QUIRE_ERR_IO);
        err = (quire_error){0};
        REQUIRE_OK(checkpoint_open(&c, path, &err));
        CHECK_OK(checkpoint_read(&c, "weights", found, sizeof found, &err));
        bool is_new = json_integer_value(json_object_get(c.state, "step")) == 4;
        CHECK_NEAR((double)found[0], is_new ? 7 : 1.5, 0);
        CHECK(is_new || status != QUIRE_OK);
        checkpoint_close(&c);
        CHECK(!sys_exists(case_path("three.tmp")));
    }
    CHECK(n_failures >= 8);
    json_decref(state);
}

static void spikes_follow_their_rule(void)
{
    struct spike spike = {.threshold = 6, .window = 16};
    CHECK(spike_find(&spike, NAN, 1));
    CHECK(spike_find(&spike, 1, INFINITY));
    CHECK(!spike_find(&spike, 1e9, 1)); /* nothing is known yet */
    for (int i = 0; i < 40; i++)        /* mean 3, deviation 0.1 */
        spike_add(&spike, i % 2 ? 3.1 : 2.9);
    CHECK_EQ_INT(spike.n, 16);
    CHECK(!spike_find(&spike, 3.59, 1));
    CHECK(spike_find(&spike, 3.61, 1));
    CHECK(!spike_find(&spike, 0, 1)); /* a loss that falls is none */
    for (int i = 0; i < 40; i++)
        spike_add(&spike, 2);
    CHECK(!spike_find(&spike, 2.4, 1)); /* at least half a nat */
    CHECK(spike_find(&spike, 2.6, 1));
    spike.threshold = 0;
    CHECK(!spike_find(&spike, 1e9, 1));
    CHECK(spike_find(&spike, -INFINITY, 1));
    spike.window = 4; /* a smaller one, after a change of the configuration */
    spike_add(&spike, 1);
    CHECK_EQ_INT(spike.n, 4);
}

static void schedules_follow_their_formulas(void)
{
    CHECK_NEAR(schedule_factor(SCHEDULE_COSINE, 1, 10, 110, 0.1), 0.1, 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_COSINE, 10, 10, 110, 0.1), 1, 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_COSINE, 60, 10, 110, 0.1), 0.55, 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_COSINE, 35, 10, 110, 0), 0.5 * (1 + sqrt(0.5)), 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_COSINE, 110, 10, 110, 0.1), 0.1, 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_COSINE, 200, 10, 110, 0.1), 0.1, 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_COSINE, 10, 10, 10, 0.25), 0.25, 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_INV_SQRT, 100, 25, 1000, 0), 0.5, 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_INV_SQRT, 5, 25, 1000, 0), 0.2, 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_INV_SQRT, 4, 0, 1000, 0), 0.5, 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_INV_SQRT, 10000, 25, 20000, 0.1), 0.1, 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_CONSTANT, 3, 6, 1000, 0), 0.5, 1e-15);
    CHECK_NEAR(schedule_factor(SCHEDULE_CONSTANT, 900, 6, 1000, 0), 1, 0);
}

static void a_log_ends_with_a_whole_line(void)
{
    quire_error err = {0};
    struct run_log log;
    size_t n;
    mkdir(case_path("log"), 0700);
    case_write_text(case_path("log/log.jsonl"), "{\"a\":1}\n{\"b\":");
    REQUIRE_OK(run_log_open(&log, case_path("log"), &err));
    CHECK_OK(run_log_add(&log, json_pack("{s:i}", "c", 3), &err));
    run_log_close(&log);
    char *text = (char *)case_read(case_path("log/log.jsonl"), &n);
    text[n] = '\0';
    CHECK_EQ_STR(text, "{\"a\":1}\n{\"c\":3}\n");
    free(text);
}

static const struct test tests[] = {
    {"a draft is one process's", a_draft_is_one_process_s},
    {"a checkpoint comes back", a_checkpoint_comes_back},
    {"any damage is found", any_damage_is_found},
    {"the latest are kept", the_latest_are_kept},
    {"a checkpoint is replaced whole or not at all", a_checkpoint_is_replaced_whole_or_not_at_all},
    {"spikes follow their rule", spikes_follow_their_rule},
    {"schedules follow their formulas", schedules_follow_their_formulas},
    {"a log ends with a whole line", a_log_ends_with_a_whole_line},
};
TEST_MAIN(tests)
