/* A reading that is killed, by kill -9, at any moment and again and again: the store opens, the place never moves back,
 * and the end is the one of the reading that nobody disturbed, bit for bit. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "engine/pace.h"
#include "golden.h"
#include "kv/kv_book.h"
#include "kv/kv_test.h"

/* Odd numbers, so that frontiers lie inside of blocks: 5 spans of 15 or 16 chunks. */
enum { N_TOKENS = 4700, CHUNK = 64, SPAN = 1001, N_KILLS = 240, N_READINGS = 3, N_WRITTEN = 4000, N_DRAFT_KILLS = 20 };
static const char model_name[] = "random-heads-6-grouped";

static int32_t *the_text(const quire_model *model)
{
    return random_ids(N_TOKENS, quire_model_config(model)->vocab_size, 61);
}

static quire_engine_options options(const char *folder, double commit_seconds)
{
    quire_engine_options opts = quire_engine_defaults();
    opts.store_path = folder;
    opts.chunk_tokens = CHUNK;
    opts.span_tokens = SPAN;
    opts.n_threads = 2;
    opts.commit_seconds = commit_seconds;
    return opts;
}

/* --- the child, who is killed ------------------------------------------------------------------------------------ */

static size_t n_calls_left; /* until the child kills itself; 0: it does not */

static void count_call(void)
{
    if (n_calls_left > 0 && --n_calls_left == 0)
        raise(SIGKILL);
}

static ssize_t counted_pwrite(int fd, const void *buffer, size_t n, off_t offset)
{
    bool is_last = n_calls_left == 1;
    if (is_last) /* half of it is written */
        sys_real.pwrite(fd, buffer, n / 2, offset);
    count_call();
    return sys_real.pwrite(fd, buffer, n, offset);
}

static int counted_fsync(int fd)
{
    count_call();
    return sys_real.fsync(fd);
}

static int counted_fdatasync(int fd)
{
    count_call();
    return sys_real.fdatasync(fd);
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

static int say_begun(void *user, const quire_progress *progress)
{
    bool *has_begun = user;
    (void)progress;
    if (!*has_begun && write(STDOUT_FILENO, "+", 1) != 1)
        return 1;
    *has_begun = true;
    return 0;
}

/* Appends to the text, with drafts that are right for a while. */
static void write_on(quire_book *book, const int32_t *ids)
{
    quire_error err = {0};
    for (size_t i = 0; i < N_WRITTEN; i++) {
        int32_t draft[5] = {ids[i + 1], ids[i + 2], ids[i + 3], ids[0], ids[1]};
        REQUIRE_OK(quire_book_append_draft(book, ids[i], draft, 5, &err));
    }
}

/* Reads the text; says on standard output when the work begins. writes: then writes on. */
static int run_child(const char *folder, const char *commit_seconds, const char *n_calls, bool writes)
{
    bool has_begun = false;
    quire_error err = {0};
    quire_model *model = golden_model(model_name);
    int32_t *ids = the_text(model);
    quire_engine_options opts = options(folder, strtod(commit_seconds, NULL));
    opts.progress = say_begun;
    opts.user = &has_begun;
    opts.draft_tokens = writes ? 5 : 0;
    n_calls_left = strtoull(n_calls, NULL, 10);
    sys.pwrite = counted_pwrite;
    sys.fsync = counted_fsync;
    sys.fdatasync = counted_fdatasync;
    sys.rename = counted_rename;
    sys.unlink = counted_unlink;
    quire_engine *engine;
    quire_book *book;
    REQUIRE_OK(quire_engine_open(&engine, model, &opts, &err));
    REQUIRE_OK(quire_book_open(&book, engine, &err));
    REQUIRE_OK(quire_book_read(book, ids, N_TOKENS, writes ? N_WRITTEN : 0, &err));
    if (writes)
        write_on(book, ids);
    quire_book_close(book);
    quire_engine_close(engine);
    quire_model_close(model);
    free(ids);
    return 0;
}

/* Starts a child, and kills it so many microseconds after its work began (never: where this is negative). Whether it
 * came to its end. */
static bool run_as(const char *child, const char *folder, double commit_seconds, size_t n_calls, int64_t microseconds)
{
    char seconds[32], calls[32], byte;
    int ends[2], status;
    snprintf(seconds, sizeof seconds, "%g", commit_seconds);
    snprintf(calls, sizeof calls, "%zu", n_calls);
    if (pipe(ends) != 0)
        exit(1);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl("/proc/self/exe", "test_crash", child, folder, seconds, calls, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    if (pid < 0)
        exit(1);
    ssize_t n = read(ends[0], &byte, 1);
    if (n == 1 && microseconds >= 0) {
        usleep((useconds_t)microseconds);
        kill(pid, SIGKILL);
    }
    close(ends[0]);
    if (waitpid(pid, &status, 0) != pid)
        exit(1);
    bool is_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    CHECK(is_killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return !is_killed;
}

static bool run(const char *folder, double commit_seconds, size_t n_calls, int64_t microseconds)
{
    return run_as("child", folder, commit_seconds, n_calls, microseconds);
}

/* --- what is in the store ---------------------------------------------------------------------------------------- */

struct place {
    uint64_t frontier, layer, phase, next_token;
};

static bool is_before(const struct place *a, const struct place *b)
{
    const uint64_t *x = &a->frontier, *y = &b->frontier;
    for (int i = 0; i < 4; i++)
        if (x[i] != y[i])
            return x[i] < y[i];
    return false;
}

struct found {
    const char *folder;
    struct kv_manifest manifest;
    size_t n;
};

static void note_manifest(void *context, const char *name)
{
    struct found *found = context;
    char path[KV_PATH_SIZE];
    kv_path(path, found->folder, "books/%s/manifest", name);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    size_t n = fread(&found->manifest, 1, sizeof found->manifest, file);
    quire_error err = {0};
    CHECK_OK(kv_manifest_check(&found->manifest, n, path, &err));
    found->n++;
    fclose(file);
}

/* The manifest of the store's one book; false where it has none. */
static bool find_manifest(struct kv_manifest *out, const char *folder)
{
    struct found found = {.folder = folder};
    char books[KV_PATH_SIZE];
    kv_path(books, folder, "books");
    kv_folder_list(books, note_manifest, &found, NULL);
    CHECK(found.n <= 1);
    *out = found.manifest;
    return found.n > 0;
}

static struct kv_store *open_as(const char *folder, const struct kv_manifest *manifest)
{
    quire_error err = {0};
    struct kv_store *store;
    struct kv_store_options opts = {
        .path = folder,
        .geometry = {manifest->n_layers, manifest->n_heads, manifest->head_dim, (quire_kv_type)manifest->type},
        .identity = manifest->identity,
    };
    REQUIRE_OK(kv_store_open(&store, &opts, &err));
    return store;
}

/* The store opens at its manifest's place, the flight's residual stream too, and every block is sound. */
static struct place look(const char *folder, const int32_t *ids, size_t d_model)
{
    struct kv_manifest manifest;
    struct kv_flight flight;
    struct kv_book *book;
    struct place place = {0};
    bool has_flight;
    quire_error err = {0};
    if (!find_manifest(&manifest, folder))
        return place;
    struct kv_store *store = open_as(folder, &manifest);
    REQUIRE_OK(kv_book_open(&book, store, ids, N_TOKENS, false, &err));
    CHECK(kv_store_notice(store) == NULL);
    CHECK_EQ_INT(kv_book_frontier(book), manifest.frontier);
    place.frontier = manifest.frontier;
    CHECK_OK(kv_book_verify(book, &err));
    CHECK_OK(kv_book_flight(book, &flight, &has_flight));
    CHECK_EQ_INT(has_flight, (manifest.flags & KV_HAS_FLIGHT) != 0);
    if (has_flight) {
        size_t n_bytes = (flight.span_end - flight.span_first) * d_model * sizeof(float);
        float *residual = malloc(n_bytes);
        CHECK_OK(kv_book_load_residual(book, residual, n_bytes, &err));
        free(residual);
        CHECK(flight.next_token == flight.span_end || (flight.next_token - flight.span_first) % CHUNK == 0);
        place.layer = flight.layer;
        place.phase = flight.phase;
        place.next_token = flight.next_token;
    }
    for (uint32_t i = 0; i < manifest.n_layers; i++)
        for (uint32_t h = 0; h < manifest.n_heads; h++)
            CHECK_OK(kv_book_check(book, i, h, &err));
    kv_book_close(book);
    kv_store_close(store);
    return place;
}

/* Both stores hold the whole text, with the same keys, values and logits. */
static void compare_stores(const char *a, const char *b, const int32_t *ids, size_t vocab_size)
{
    const char *folders[2] = {a, b};
    struct kv_manifest manifests[2];
    struct kv_store *stores[2];
    struct kv_book *books[2];
    float *logits[2];
    quire_error err = {0};
    for (int i = 0; i < 2; i++) {
        logits[i] = malloc(vocab_size * sizeof(float));
        CHECK(find_manifest(&manifests[i], folders[i]));
        stores[i] = open_as(folders[i], &manifests[i]);
        REQUIRE_OK(kv_book_open(&books[i], stores[i], ids, N_TOKENS, false, &err));
        CHECK_EQ_INT(kv_book_frontier(books[i]), N_TOKENS);
        CHECK(kv_book_logits(books[i], logits[i], vocab_size));
    }
    CHECK(memcmp(logits[0], logits[1], vocab_size * sizeof(float)) == 0);
    struct kv_geometry geometry = stores[0]->geometry;
    size_t n_different = 0, half = kv_block_bytes(&geometry) / 2;
    for (uint32_t i = 0; i < geometry.n_layers; i++)
        for (uint32_t h = 0; h < geometry.n_heads; h++)
            for (size_t block = 0; block < (N_TOKENS + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS; block++) {
                struct kv_block x = kv_book_block(books[0], i, h, block), y = kv_book_block(books[1], i, h, block);
                size_t n_bytes = half / KV_BLOCK_TOKENS * x.n_tokens;
                CHECK_EQ_INT(x.n_tokens, y.n_tokens);
                n_different += memcmp(x.k, y.k, n_bytes) != 0 || memcmp(x.v, y.v, n_bytes) != 0;
            }
    CHECK_EQ_INT(n_different, 0);
    for (int i = 0; i < 2; i++) {
        kv_book_close(books[i]);
        kv_store_close(stores[i]);
        free(logits[i]);
    }
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

/* Half of the kills come from outside, after a time; half in the middle of a call that writes, syncs or renames. */
static void killed_at_any_moment(void)
{
    char whole[KV_PATH_SIZE], folder[KV_PATH_SIZE];
    uint64_t seed = 71;
    quire_model *model = golden_model(model_name);
    const quire_config *config = quire_model_config(model);
    int32_t *ids = the_text(model);
    size_t n_kills = 0, n_readings = 0, n_in_flight = 0;
    kv_test_begin(whole);
    CHECK(run(whole, 3600, 0, -1));
    while ((n_kills < N_KILLS || n_readings < N_READINGS) && test_n_failed_checks == 0) {
        struct place last = {0};
        bool is_done = false;
        kv_test_begin(folder);
        while (!is_done && test_n_failed_checks == 0) {
            uint64_t r = test_random(&seed);
            bool from_outside = r % 2;
            double commit_seconds = r / 2 % 4 == 0 ? 0.004 : 0;
            int64_t delay = from_outside ? (int64_t)(test_random(&seed) % 12000) : -1;
            is_done = run(folder, commit_seconds, from_outside ? 0 : 1 + test_random(&seed) % 700, delay);
            n_kills += !is_done;
            struct place now = look(folder, ids, config->d_model);
            CHECK(!is_before(&now, &last));
            n_in_flight += now.next_token > 0;
            last = now;
        }
        CHECK_EQ_INT(last.frontier, N_TOKENS);
        compare_stores(folder, whole, ids, config->vocab_size);
        n_readings++;
        kv_test_end(folder);
    }
    printf("     %zu kills in %zu readings; %zu times a span went on from its inside\n", n_kills, n_readings,
           n_in_flight);
    CHECK(n_in_flight > N_KILLS / 2);
    kv_test_end(whole);
    free(ids);
    quire_model_close(model);
}

/* With a long interval only the spans are committed; with 0 every step: the last one of a span is the span's end. */
static void commits_follow_the_option(void)
{
    struct kv_manifest manifest;
    char folder[KV_PATH_SIZE];
    size_t n_spans = (N_TOKENS + SPAN - 1) / SPAN, n_steps = 0;
    for (size_t first = 0; first < N_TOKENS; first += SPAN) {
        size_t n = first + SPAN < N_TOKENS ? SPAN : N_TOKENS - first;
        n_steps += (n + CHUNK - 1) / CHUNK * 2;
    }
    kv_test_begin(folder);
    CHECK(run(folder, 36000, 0, -1));
    CHECK(find_manifest(&manifest, folder));
    CHECK_EQ_INT(manifest.generation, n_spans);
    kv_test_end(folder);
    kv_test_begin(folder);
    CHECK(run(folder, 0, 0, -1));
    CHECK(find_manifest(&manifest, folder));
    CHECK_EQ_INT(manifest.generation, n_steps * manifest.n_layers);
    kv_test_end(folder);
}

static int open_but_residual(const char *path, int flags, mode_t mode)
{
    if (strstr(path, "/residual."))
        return errno = ENOSPC, -1;
    return sys_real.open(path, flags, mode);
}

/* A span in flight that finds no room on the disk is not kept; the reading goes on. */
static void a_commit_without_room_stops_nothing(void)
{
    char folder[KV_PATH_SIZE], whole[KV_PATH_SIZE];
    quire_model *model = golden_model(model_name);
    const quire_config *config = quire_model_config(model);
    int32_t *ids = the_text(model);
    kv_test_begin(folder);
    kv_test_begin(whole);
    CHECK(run(whole, 3600, 0, -1));
    quire_engine_options opts = options(folder, 0);
    sys.open = open_but_residual;
    struct reading reading = read_ids(model, &opts, ids, N_TOKENS);
    sys = sys_real;
    reading_release(&reading);
    compare_stores(folder, whole, ids, config->vocab_size);
    kv_test_end(folder);
    kv_test_end(whole);
    free(ids);
    quire_model_close(model);
}

/* Killed while drafted tokens are under way: they are nowhere but in memory and in files without a name, and the store
 * holds the text, nothing more, as it was committed (KV-13). */
static void killed_while_drafting(void)
{
    char folder[KV_PATH_SIZE], whole[KV_PATH_SIZE];
    quire_model *model = golden_model(model_name);
    int32_t *ids = the_text(model);
    struct kv_manifest before, after;
    uint64_t seed = 17;
    int n_killed = 0;
    kv_test_begin(folder);
    kv_test_begin(whole);
    CHECK(run(whole, 3600, 0, -1));
    CHECK(run(folder, 3600, 0, -1));
    CHECK(find_manifest(&before, folder));
    size_t n_files = kv_test_count_files(folder);
    for (int i = 0; i < N_DRAFT_KILLS; i++) {
        n_killed += !run_as("writer", folder, 0, 0, (int64_t)(test_random(&seed) % 60000));
        CHECK(find_manifest(&after, folder));
        CHECK_EQ_INT(memcmp(&before, &after, sizeof before), 0);
        CHECK_EQ_INT(kv_test_count_files(folder), n_files);
    }
    CHECK(n_killed > N_DRAFT_KILLS / 2);
    compare_stores(folder, whole, ids, quire_model_config(model)->vocab_size);
    kv_test_end(folder);
    kv_test_end(whole);
    free(ids);
    quire_model_close(model);
}

static void pace(void)
{
    struct pace pace;
    pace_start(&pace, 60, 1000);
    CHECK(!pace_is_due(&pace, false, 1059) && pace_is_due(&pace, false, 1060));
    CHECK(!pace_is_due(&pace, true, 1009) && pace_is_due(&pace, true, 1010));
    pace_committed(&pace, 1060, 1061);
    CHECK(!pace_is_due(&pace, false, 1120) && pace_is_due(&pace, false, 1121));
    CHECK(!pace_is_due(&pace, true, 1110) && pace_is_due(&pace, true, 1111)); /* one second each 50 */
    pace_committed(&pace, 1121, 1125);
    CHECK(!pace_is_due(&pace, false, 1324) && pace_is_due(&pace, false, 1325));
    pace_start(&pace, 0, 1000);
    pace_committed(&pace, 1000, 1010);
    CHECK(pace_is_due(&pace, false, 1010));
}

static const struct test tests[] = {
    {"pace", pace},
    {"commits_follow_the_option", commits_follow_the_option},
    {"a_commit_without_room_stops_nothing", a_commit_without_room_stops_nothing},
    {"killed_at_any_moment", killed_at_any_moment},
    {"killed_while_drafting", killed_while_drafting},
};

int main(int argc, char **argv)
{
    if (argc == 5 && (strcmp(argv[1], "child") == 0 || strcmp(argv[1], "writer") == 0))
        return run_child(argv[2], argv[3], argv[4], strcmp(argv[1], "writer") == 0);
    return test_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
