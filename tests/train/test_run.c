/* Training runs: what they end with, how they go on after kill -9 at any moment, what they do about damage, spikes, a
 * full disk and a configuration that differs. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "run_case.h"
#include "test.h"
#include "train/checkpoint.h"

#define STEPS(n)                                                                                                       \
    "max_duration: " #n "ba\nsave_interval: 4ba\nsave_num_checkpoints_to_keep: 3\neval_interval: 5ba\n"                \
    "optimizer: {lr: 2e-3}\nscheduler: {t_warmup: 3ba}\nholdout: {fraction: 0.3}\noutput: {gguf: f32, huggingface: "   \
    "none}\n"

static void make_texts(void)
{
    if (!sys_exists(case_path("texts")))
        case_make_corpus(case_path("texts"), 8, 120, 7);
}

/* What runs ended with, byte for byte: every number that training depends on. The configurations name folders of their
 * own. */
static void check_same_end(const char *run, const char *other, unsigned step)
{
    quire_error err = {0};
    struct checkpoint a, b;
    REQUIRE_OK(checkpoint_open(&a, case_checkpoint(run, step), &err));
    REQUIRE_OK(checkpoint_open(&b, case_checkpoint(other, step), &err));
    CHECK_EQ_INT(a.n_parts, b.n_parts);
    for (size_t i = 1; i < a.n_parts && i < b.n_parts; i++) {
        CHECK_EQ_INT(a.parts[i].n_bytes, b.parts[i].n_bytes);
        CHECK(memcmp(a.parts[i].data, b.parts[i].data, a.parts[i].n_bytes) == 0);
    }
    json_object_del(a.state, "config");
    json_object_del(b.state, "config");
    CHECK(json_equal(a.state, b.state));
    checkpoint_close(&a);
    checkpoint_close(&b);
}

static void a_run_learns_and_gives_a_model(void)
{
    quire_error err = {0};
    struct case_watch watch;
    quire_model *model = NULL;
    make_texts();
    quire_training_options options = case_options(case_config("texts", "whole", STEPS(30)), &watch);
    REQUIRE_OK(case_train(&options, &err));
    CHECK_EQ_INT(watch.n_steps, 30);
    CHECK_EQ_INT(watch.n_evals, 6);
    CHECK(watch.n_values > 60);
    CHECK(watch.loss < 6); /* the vocabulary's logarithm is 6.6, that of twenty words 3 */
    CHECK(strstr(watch.notices, "memory: "));
    REQUIRE_OK(quire_model_open(&model, case_path("whole/model.gguf"), &err));
    CHECK_EQ_INT(quire_model_config(model)->d_model, 16);
    CHECK_EQ_INT(quire_model_config(model)->max_seq_len, 32);
    quire_model_close(model);
    CHECK(!sys_exists(case_checkpoint("whole", 16))); /* three are kept: 24, 28, 30 */
    CHECK(sys_exists(case_checkpoint("whole", 24)));
}

/* --- kill -9 ------------------------------------------------------------------------------------------------------ */

static size_t n_calls_left; /* until the process kills itself; 0: it does not */

static void count_call(void)
{
    if (n_calls_left > 0 && --n_calls_left == 0)
        raise(SIGKILL);
}

static ssize_t counted_pwrite(int fd, const void *buffer, size_t n, off_t offset)
{
    if (n_calls_left == 1) /* half of it is written */
        sys_real.pwrite(fd, buffer, n / 2, offset);
    count_call();
    return sys_real.pwrite(fd, buffer, n, offset);
}

static int counted_fsync(int fd)
{
    count_call();
    return sys_real.fsync(fd);
}

static int counted_rename(const char *from, const char *to)
{
    count_call();
    return sys_real.rename(from, to);
}

static int counted_unlink(const char *path)
{
    count_call();
    return sys_real.unlink(path);
}

/* Trains in a child that kills itself at its n-th call; false when it came to the end before that. */
static bool train_and_kill(const char *config, size_t n)
{
    pid_t child = fork();
    if (child == 0) {
        quire_error err = {0};
        struct case_watch watch;
        quire_training_options options = case_options(config, &watch);
        n_calls_left = n;
        sys.pwrite = counted_pwrite;
        sys.fsync = counted_fsync;
        sys.rename = counted_rename;
        sys.unlink = counted_unlink;
        quire_status status = case_train(&options, &err);
        if (status != QUIRE_OK)
            fprintf(stderr, "%s\n", err.message);
        _exit(status == QUIRE_OK ? 0 : 1);
    }
    int result = 0;
    CHECK(waitpid(child, &result, 0) == child);
    bool is_killed = WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL;
    CHECK(is_killed || (WIFEXITED(result) && WEXITSTATUS(result) == 0));
    return is_killed;
}

static void a_killed_run_ends_as_one_that_was_not(void)
{
    quire_error err = {0};
    struct case_watch watch;
    uint64_t seed = 5;
    make_texts();
    quire_training_options options = case_options(case_config("texts", "calm", STEPS(14)), &watch);
    REQUIRE_OK(case_train(&options, &err));
    for (int run = 0; run < 2; run++) {
        char name[32];
        int n_kills = 0;
        snprintf(name, sizeof name, "killed-%d", run);
        const char *config = case_config("texts", name, STEPS(14));
        while (train_and_kill(config, 1 + test_random(&seed) % 40))
            n_kills++;
        CHECK(n_kills > 0);
        check_same_end("calm", name, 14);
    }
}

/* What may change between a checkpoint and the run that goes on changes no bit. */
static void what_may_change_changes_nothing(void)
{
    quire_error err = {0};
    struct case_watch watch;
    make_texts();
    quire_training_options options = case_options(case_config("texts", "plain", STEPS(6)), &watch);
    REQUIRE_OK(case_train(&options, &err));
    options = case_options(case_config("texts", "frugal", STEPS(6) "activation_checkpointing: true\n"), &watch);
    options.n_threads = 1;
    REQUIRE_OK(case_train(&options, &err));
    check_same_end("plain", "frugal", 6);
}

static void a_cancelled_run_goes_on(void)
{
    quire_error err = {0};
    struct case_watch watch;
    quire_training *training;
    quire_status status = QUIRE_OK;
    make_texts();
    quire_training_options options = case_options(case_config("texts", "undisturbed", STEPS(9)), &watch);
    REQUIRE_OK(case_train(&options, &err));
    options = case_options(case_config("texts", "cancelled", STEPS(9)), &watch);
    REQUIRE_OK(quire_training_open(&training, &options, &err));
    watch.cancels = training;
    watch.steps_left = 6;
    for (bool is_done = false; status == QUIRE_OK && !is_done;)
        status = quire_training_step(training, &is_done, &err);
    CHECK_EQ_INT(status, QUIRE_ERR_CANCELLED);
    quire_error_clear(&err);
    CHECK_OK(quire_training_save(training, &err));
    quire_training_close(training);
    CHECK(sys_exists(case_checkpoint("cancelled", 6)));
    static const char *const left[] = {"sample.gguf.123-0.tmp", "model.gguf.123-1.tmp", "model.123-0.tmp/config.json",
                                       "model.123-0.tmp", "step-000000007.checkpoint.tmp"};
    mkdir(case_path("cancelled/model.123-0.tmp"), 0700);
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        if (!sys_exists(case_path("cancelled/%s", left[i])))
            case_write_text(case_path("cancelled/%s", left[i]), "left by a killed run");
    case_write_text(case_path("cancelled/model.gguf.mine.tmp"), "not ours");
    options = case_options(options.config_path, &watch);
    REQUIRE_OK(case_train(&options, &err));
    CHECK_EQ_INT(watch.n_steps, 3);
    CHECK(strstr(watch.notices, "going on after step 6 of 9"));
    check_same_end("undisturbed", "cancelled", 9);
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        CHECK(!sys_exists(case_path("cancelled/%s", left[i])));
    CHECK(sys_exists(case_path("cancelled/model.gguf.mine.tmp")));
}

/* --- damage ------------------------------------------------------------------------------------------------------- */

static void a_damaged_checkpoint_gives_way_to_the_one_before(void)
{
    quire_error err = {0};
    struct case_watch watch;
    size_t n;
    make_texts();
    quire_training_options options = case_options(case_config("texts", "damaged", STEPS(10)), &watch);
    REQUIRE_OK(case_train(&options, &err));
    size_t n_good;
    unsigned char *good = case_read(case_checkpoint("damaged", 10), &n_good);
    unsigned char *bytes = case_read(case_checkpoint("damaged", 10), &n);
    bytes[n - n / 3] ^= 4;
    case_write(case_checkpoint("damaged", 10), bytes, n);
    options = case_options(options.config_path, &watch);
    REQUIRE_OK(case_train(&options, &err));
    CHECK(strstr(watch.notices, "an older one is looked for"));
    CHECK(strstr(watch.notices, "going on after step 8 of 10"));
    CHECK_EQ_INT(watch.n_steps, 2);
    free(bytes);
    bytes = case_read(case_checkpoint("damaged", 10), &n);
    CHECK(n == n_good && memcmp(bytes, good, n) == 0);
    for (unsigned step = 4; step <= 10; step++) /* cut short, all of them: there is no way to go on */
        if (sys_exists(case_checkpoint("damaged", step)))
            CHECK_EQ_INT(truncate(case_checkpoint("damaged", step), 100), 0);
    for (int i = 0; i < 2; i++) { /* nor does trying again begin anew */
        quire_error_clear(&err);
        options = case_options(options.config_path, &watch);
        CHECK_EQ_INT(case_train(&options, &err), QUIRE_ERR_FORMAT);
        CHECK_MESSAGE(err, "away to begin anew");
    }
    free(bytes);
    free(good);
}

static void what_differs_from_the_checkpoint_is_named(void)
{
    quire_error err = {0};
    struct case_watch watch;
    make_texts();
    quire_training_options options = case_options(case_config("texts", "fixed", STEPS(4)), &watch);
    REQUIRE_OK(case_train(&options, &err));
    options = case_options(case_config("texts", "fixed", STEPS(6) "seed: 18\nz_loss: 1e-4\n"), &watch);
    CHECK_EQ_INT(case_train(&options, &err), QUIRE_ERR_MISMATCH);
    CHECK_MESSAGE(err, "seed is 18, was 17");
    CHECK_MESSAGE(err, "z_loss is 0.0001, was 0");
    CHECK(!strstr(err.message, "max_duration")); /* that may change */
    quire_error_clear(&err);
    case_make_corpus(case_path("others"), 8, 120, 8);
    options = case_options(case_config("others", "fixed", STEPS(4)), &watch);
    CHECK_EQ_INT(case_train(&options, &err), QUIRE_ERR_MISMATCH);
    CHECK_MESSAGE(err, "training data");
    quire_error_clear(&err);
    options = case_options(case_config("texts", "fixed", STEPS(6)), &watch);
    CHECK_OK(case_train(&options, &err));
    CHECK_EQ_INT(watch.n_steps, 2);
}

static void a_folder_belongs_to_one_run_at_a_time(void)
{
    quire_error err = {0};
    struct case_watch watch;
    quire_training *first, *second = NULL;
    make_texts();
    quire_training_options options = case_options(case_config("texts", "shared", STEPS(4)), &watch);
    REQUIRE_OK(quire_training_open(&first, &options, &err));
    CHECK_EQ_INT(quire_training_open(&second, &options, &err), QUIRE_ERR_BUSY);
    CHECK(second == NULL);
    quire_training_close(first);
}

/* --- spikes ------------------------------------------------------------------------------------------------------- */

/* One document of a single word over and over, but for a stretch of noise in the middle. */
static void make_noisy_text(const char *folder)
{
    uint64_t seed = 3;
    mkdir(folder, 0700);
    FILE *f = fopen(case_path("noisy/doc.txt"), "w");
    for (int i = 0; f && i < 16000; i++)
        if (i > 11500 && i < 11900)
            fprintf(f, "%c", (char)('!' + test_random(&seed) % 90));
        else
            fprintf(f, " the");
    if (f)
        fclose(f);
}

static void train_on_noise(const char *run, unsigned n_keep, struct case_watch *watch)
{
    quire_error err = {0};
    const char *path = case_path("%s.yaml", run);
    make_noisy_text(case_path("noisy"));
    FILE *f = fopen(path, "w");
    fprintf(f,
            "model: {d_model: 16, n_heads: 2, n_layers: 1, max_seq_len: 32}\n"
            "tokenizer: {name: " QUIRE_SOURCE_DIR "/tests/tokenizer/data/tokenizer.json}\n"
            "train_loader: {dataset: {local: %s/noisy, shuffle: false}}\nsave_folder: %s/%s\n"
            "global_train_batch_size: 4\nmax_duration: 120ba\nsave_interval: 8ba\neval_interval: 0ba\n"
            "optimizer: {lr: 5e-3}\nscheduler: {name: constant_with_warmup, t_warmup: 4ba}\n"
            "spike: {window: 16, threshold: 6}\noutput: {gguf: none, huggingface: none}\n"
            "save_num_checkpoints_to_keep: %u\n",
            case_folder(), case_folder(), run, n_keep);
    fclose(f);
    quire_training_options options = case_options(path, watch);
    REQUIRE_OK(case_train(&options, &err));
}

static void a_spike_is_taken_back_and_its_batch_passed_over(void)
{
    struct case_watch watch;
    size_t n;
    train_on_noise("spike", 1, &watch);
    CHECK(strstr(watch.notices, "the loss jumped"));
    CHECK(!strstr(watch.notices, "back to step 0,")); /* several batches in a row, and one checkpoint */
    CHECK(strstr(watch.notices, "passing over the batches"));
    CHECK(watch.n_steps > 120); /* some were done again */
    CHECK(watch.loss < 1);
    char *log = (char *)case_read(case_path("spike/log.jsonl"), &n);
    log[n] = '\0';
    /* Where the step went wrong again, more was passed over, on both sides. */
    json_int_t first = 0, last = 0;
    size_t n_rollbacks = 0, n_wider = 0;
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *event = json_loads(line, 0, NULL);
        if (strcmp(json_string_value(json_object_get(event, "event")), "rollback") == 0) {
            json_int_t first_now = json_integer_value(json_object_get(event, "first_batch"));
            json_int_t last_now = json_integer_value(json_object_get(event, "last_batch"));
            n_wider += n_rollbacks++ > 0 && first_now < first && last_now > last;
            first = first_now;
            last = last_now;
        }
        json_decref(event);
    }
    CHECK(n_rollbacks >= 2 && n_rollbacks <= 4); /* some five batches are noise */
    CHECK(n_wider >= 1);
    free(log);
    CHECK(!strstr(watch.notices, "and is removed")); /* the only one stays */
    train_on_noise("spike-3", 3, &watch);
    CHECK(strstr(watch.notices, "and is removed"));
    CHECK(watch.loss < 1);
}

static void a_run_that_cannot_be_saved_by_going_back_ends(void)
{
    quire_error err = {0};
    struct case_watch watch;
    make_texts();
    quire_training_options options = case_options(
        case_config("texts", "hopeless",
                    "max_duration: 60ba\nsave_interval: 4ba\neval_interval: 0ba\noptimizer: {lr: 10, betas: [0, 0]}\n"
                    "scheduler: {name: constant_with_warmup, t_warmup: 0ba}\nspike: {max_rollbacks: 2, window: 8, "
                    "threshold: 0.001}\nprecision: fp32\noutput: {gguf: none, huggingface: none}\n"),
        &watch);
    CHECK_EQ_INT(case_train(&options, &err), QUIRE_ERR_NUMERIC);
    CHECK_MESSAGE(err, "a lower optimizer.lr");
}

/* --- a full disk -------------------------------------------------------------------------------------------------- */

static bool is_disk_full;

static ssize_t full_pwrite(int fd, const void *buffer, size_t n, off_t offset)
{
    if (is_disk_full && n > 4096) {
        errno = ENOSPC;
        return -1;
    }
    return sys_real.pwrite(fd, buffer, n, offset);
}

static void a_full_disk_loses_nothing(void)
{
    quire_error err = {0};
    struct case_watch watch;
    quire_training *training;
    bool is_done = false;
    make_texts();
    quire_training_options options = case_options(case_config("texts", "roomy", STEPS(12)), &watch);
    REQUIRE_OK(case_train(&options, &err));
    options = case_options(case_config("texts", "full", STEPS(12)), &watch);
    REQUIRE_OK(quire_training_open(&training, &options, &err));
    sys.pwrite = full_pwrite;
    for (int i = 0; i < 10; i++) {
        is_disk_full = i >= 6; /* the checkpoint of step 8 fails, that of step 4 stays */
        CHECK_OK(quire_training_step(training, &is_done, &err));
    }
    CHECK(strstr(watch.notices, "no checkpoint of step 8"));
    CHECK(strstr(watch.notices, "make room"));
    CHECK(!sys_exists(case_path("full/step-000000008.checkpoint.tmp")));
    CHECK_EQ_INT(quire_training_save(training, &err), QUIRE_ERR_NO_SPACE);
    CHECK(sys_exists(case_checkpoint("full", 4)));
    quire_error_clear(&err);
    is_disk_full = false; /* somebody made room: the run has lost nothing */
    while (!is_done)
        REQUIRE_OK(quire_training_step(training, &is_done, &err));
    CHECK_OK(quire_training_finish(training, &err));
    quire_training_close(training);
    sys = sys_real;
    check_same_end("roomy", "full", 12);
}

static size_t n_without_room;

static int full_fallocate(int fd, int mode, off_t offset, off_t n)
{
    if (n_without_room > 0 && n_without_room-- > 0) {
        errno = ENOSPC;
        return -1;
    }
    return sys_real.fallocate(fd, mode, offset, n);
}

static void a_model_is_written_where_its_checkpoint_has_no_room(void)
{
    quire_error err = {0};
    struct case_watch watch;
    quire_training *training;
    quire_model *model = NULL;
    bool is_done = false;
    make_texts();
    quire_training_options options = case_options(case_config("texts", "narrow", STEPS(6)), &watch);
    REQUIRE_OK(quire_training_open(&training, &options, &err));
    while (!is_done && watch.n_steps < 5)
        REQUIRE_OK(quire_training_step(training, &is_done, &err));
    sys.fallocate = full_fallocate;
    n_without_room = 2; /* the checkpoint of the last step, and once more when the run ends */
    while (!is_done)
        REQUIRE_OK(quire_training_step(training, &is_done, &err));
    CHECK_EQ_INT(quire_training_finish(training, &err), QUIRE_ERR_NO_SPACE);
    CHECK_MESSAGE(err, "no checkpoint of step 6");
    CHECK_EQ_INT(n_without_room, 0);
    quire_training_close(training);
    sys = sys_real;
    quire_error_clear(&err);
    REQUIRE_OK(quire_model_open(&model, case_path("narrow/model.gguf"), &err));
    quire_model_close(model);
}

static void what_was_due_behind_a_checkpoint_is_done_by_the_next_process(void)
{
    quire_error err = {0};
    struct case_watch watch;
    quire_training *training;
    bool is_done = false;
    make_texts();
    const char *config =
        case_config("texts", "due",
                    "max_duration: 8ba\nsave_interval: 4ba\neval_interval: 4ba\noptimizer: {lr: 2e-3}\n"
                    "scheduler: {t_warmup: 3ba}\nholdout: {fraction: 0.3}\n");
    quire_training_options options = case_options(config, &watch);
    REQUIRE_OK(quire_training_open(&training, &options, &err));
    watch.cancels = training;
    watch.steps_left = 4; /* told before the checkpoint; validation behind it is cancelled */
    quire_status status = QUIRE_OK;
    while (status == QUIRE_OK && !is_done)
        status = quire_training_step(training, &is_done, &err);
    CHECK_EQ_INT(status, QUIRE_ERR_CANCELLED);
    CHECK_EQ_INT(watch.n_evals, 0);
    quire_training_close(training);
    quire_error_clear(&err);
    options = case_options(config, &watch);
    REQUIRE_OK(case_train(&options, &err));
    CHECK_EQ_INT(watch.n_steps, 4);
    CHECK_EQ_INT(watch.n_evals, 2); /* of steps 4 and 8 */
}

/* --- fine-tuning -------------------------------------------------------------------------------------------------- */

static void fine_tuning_starts_from_a_model_and_may_go_on_longer(void)
{
    quire_error err = {0};
    struct case_watch watch;
    quire_model *model;
    make_texts();
    quire_training_options options = case_options(case_config("texts", "base", STEPS(30)), &watch);
    REQUIRE_OK(case_train(&options, &err));
    double base_loss = watch.loss;
    const char *config = case_path("tune.yaml"), *base = case_path("base/model.gguf");
    FILE *f = fopen(config, "w");
    fprintf(f,
            "model: {max_seq_len: 64, attn_config: {alibi_bias_max: 16, clip_qkv: 6}}\ntrain_loader: {dataset: {local: "
            "%s/texts}}\nsave_folder: %s/tuned\n"
            "global_train_batch_size: 2\nmax_duration: 3ba\noptimizer: {lr: 1e-5}\nscheduler: {t_warmup: 1ba}\n"
            "output: {gguf: q8_0, huggingface: f32}\n",
            case_folder(), case_folder());
    fclose(f);
    options = case_options(config, &watch);
    options.model_path = base;
    REQUIRE_OK(case_train(&options, &err));
    CHECK(watch.loss < base_loss + 0.5); /* from nothing it would be above 6 */
    REQUIRE_OK(quire_model_open(&model, case_path("tuned/model"), &err));
    CHECK_EQ_INT(quire_model_config(model)->max_seq_len, 64);
    CHECK_EQ_INT(quire_model_config(model)->d_model, 16);
    CHECK_NEAR((double)quire_model_config(model)->alibi_bias_max, 16, 0);
    CHECK_NEAR((double)quire_model_config(model)->clip_qkv, 6, 0);
    quire_model_close(model);

    f = fopen(config, "w");
    fprintf(f,
            "model: {n_layers: 3}\ntrain_loader: {dataset: {local: %s/texts}}\nsave_folder: %s/tuned-2\n"
            "global_train_batch_size: 2\nmax_duration: 3ba\nscheduler: {t_warmup: 1ba}\n",
            case_folder(), case_folder());
    fclose(f);
    CHECK_EQ_INT(case_train(&options, &err), QUIRE_ERR_MISMATCH);
    CHECK_MESSAGE(err, "model.n_layers is 3");
    CHECK_MESSAGE(err, "has 2");
    quire_error_clear(&err);

    /* What the model has, in other words; and a warm-up that ends in time, counted in the model's own context. */
    f = fopen(config, "w");
    fprintf(f,
            "model: {logit_scale: 1, learned_pos_emb: true, attn_config: {kv_n_heads: 2}}\n"
            "train_loader: {dataset: {local: %s/texts}}\nsave_folder: %s/tuned-3\n"
            "global_train_batch_size: 2\nmax_duration: 400tok\nscheduler: {t_warmup: 5ba}\n",
            case_folder(), case_folder());
    fclose(f);
    options = case_options(config, &watch);
    options.model_path = base;
    REQUIRE_OK(case_train(&options, &err));
    CHECK(watch.n_steps > 5);
}

static const struct test tests[] = {
    {"a run learns and gives a model", a_run_learns_and_gives_a_model},
    {"a killed run ends as one that was not", a_killed_run_ends_as_one_that_was_not},
    {"what may change changes nothing", what_may_change_changes_nothing},
    {"a cancelled run goes on", a_cancelled_run_goes_on},
    {"a damaged checkpoint gives way to the one before", a_damaged_checkpoint_gives_way_to_the_one_before},
    {"what differs from the checkpoint is named", what_differs_from_the_checkpoint_is_named},
    {"a folder belongs to one run at a time", a_folder_belongs_to_one_run_at_a_time},
    {"a spike is taken back and its batch passed over", a_spike_is_taken_back_and_its_batch_passed_over},
    {"a run that cannot be saved by going back ends", a_run_that_cannot_be_saved_by_going_back_ends},
    {"a full disk loses nothing", a_full_disk_loses_nothing},
    {"a model is written where its checkpoint has no room", a_model_is_written_where_its_checkpoint_has_no_room},
    {"what was due behind a checkpoint is done by the next process",
     what_was_due_behind_a_checkpoint_is_done_by_the_next_process},
    {"fine-tuning starts from a model and may go on longer", fine_tuning_starts_from_a_model_and_may_go_on_longer},
};
TEST_MAIN(tests)
