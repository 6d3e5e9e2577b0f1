/* --memory is kept: peak resident memory of a process that reads and writes under a budget stays below it.
 *
 * The model (150 MB of float32 weights) is made by bench/make_model, whose path is in MAKE_MODEL. */
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "golden.h"
#include "test.h"

enum { N_TOKENS = 3000, N_SHORT = 300, N_NEW = 3 }; /* several chunks, and one */

static char folder[64], model_path[128];

static void make_model(void)
{
    make_folder(folder);
    snprintf(model_path, sizeof model_path, "%s/model.gguf", folder);
    pid_t child = fork();
    if (child == 0) {
        execl(MAKE_MODEL, "make_model", model_path, "--d-model", "512", "--n-heads", "8", "--n-layers", "12", "--vocab",
              "2048", "--type", "f32", (char *)NULL);
        _exit(127);
    }
    int status = -1;
    waitpid(child, &status, 0);
    if (status != 0)
        exit(1);
}

struct result {
    quire_plan plan;
    uint64_t peak_bytes;
    float logits[2048];
};

/* --- control groups ---------------------------------------------------------------------------------------------- */

static bool write_number(const char *group, const char *file, unsigned long long number)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", group, file);
    FILE *f = fopen(path, "we");
    if (!f)
        return false;
    bool is_written = fprintf(f, "%llu", number) > 0;
    return fclose(f) == 0 && is_written;
}

/* The folder of this process's group with a controller for memory, of either version; the file for its limit. */
static bool find_group(char group[256], const char **limit_file)
{
    char line[256];
    bool is_found = false;
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && !is_found && fgets(line, sizeof line, f)) {
        char *path = strrchr(line, ':');
        line[strcspn(line, "\n")] = '\0';
        bool is_second = strncmp(line, "0::", 3) == 0;
        if (!is_second && !strstr(line, ":memory:"))
            continue;
        snprintf(group, 256, "/sys/fs/cgroup%s%.200s", is_second ? "" : "/memory", path + 1);
        *limit_file = is_second ? "memory.max" : "memory.limit_in_bytes";
        char file[512];
        snprintf(file, sizeof file, "%s/%s", group, is_second ? "cgroup.controllers" : *limit_file);
        FILE *controllers = fopen(file, "re");
        is_found = controllers && (!is_second || (fgets(line, sizeof line, controllers) && strstr(line, "memory")));
        if (controllers)
            fclose(controllers);
    }
    if (f)
        fclose(f);
    return is_found;
}

/* A group below this process's own, with a limit. False where that is not for us to make. */
static bool make_group(char group[320], unsigned long long limit)
{
    char parent[256];
    const char *limit_file;
    if (!find_group(parent, &limit_file))
        return false;
    snprintf(group, 320, "%s/quire-test-%ld", parent, (long)getpid());
    if (mkdir(group, 0700) != 0)
        return false;
    if (write_number(group, limit_file, limit))
        return true;
    rmdir(group);
    return false;
}

/* In a process of its own, so that the peak is this reading's. group: the control group that it enters first, or NULL.
 */
static struct result run(size_t n_tokens, uint64_t memory_bytes, const char *group)
{
    struct result result;
    int ends[2];
    if (pipe(ends) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        quire_error err = {0};
        quire_model *model;
        quire_engine *engine;
        quire_book *book;
        quire_engine_options opts = quire_engine_defaults();
        if (group && !write_number(group, "cgroup.procs", (unsigned long long)getpid()))
            _exit(1);
        opts.memory_bytes = memory_bytes;
        opts.n_threads = 2; /* more take more memory than the budgets below have */
        opts.spill_path = folder;
        int32_t *ids = random_ids(n_tokens + N_NEW, 2048, 61);
        REQUIRE_OK(quire_model_open(&model, model_path, &err));
        REQUIRE_OK(quire_engine_open(&engine, model, &opts, &err));
        REQUIRE_OK(quire_engine_plan(engine, n_tokens, N_NEW, &result.plan, &err));
        REQUIRE_OK(quire_book_open(&book, engine, &err));
        REQUIRE_OK(quire_book_read(book, ids, n_tokens, N_NEW, &err));
        for (int i = 0; i < N_NEW; i++)
            REQUIRE_OK(quire_book_append(book, ids[n_tokens + (size_t)i], &err));
        memcpy(result.logits, quire_book_logits(book), sizeof result.logits);
        result.peak_bytes = sys_peak_resident_bytes();
        _exit(write(ends[1], &result, sizeof result) != sizeof result);
    }
    close(ends[1]);
    bool is_whole = read(ends[0], &result, sizeof result) == sizeof result;
    close(ends[0]);
    waitpid(child, NULL, 0);
    if (!is_whole)
        result = (struct result){0};
    return result;
}

static void check_budgets(size_t n_tokens)
{
    struct result large = run(n_tokens, 2ull << 30, NULL);
    CHECK_EQ_INT(large.plan.span_tokens, n_tokens);
    CHECK(large.peak_bytes > (150 << 20)); /* the model does not fit the small budgets whole */
    uint64_t budgets[] = {large.plan.least_bytes, 75 << 20, 120 << 20, 200 << 20};
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        struct result small = run(n_tokens, budgets[i], NULL);
        printf("     %zu tokens, budget %llu MiB: planned %llu, peak %llu, spans of %u\n", n_tokens,
               (unsigned long long)budgets[i] >> 20, (unsigned long long)small.plan.memory_bytes >> 20,
               (unsigned long long)small.peak_bytes >> 20, small.plan.span_tokens);
        CHECK(small.plan.memory_bytes <= budgets[i]);
        CHECK(small.peak_bytes > 0);
        CHECK(small.peak_bytes <= budgets[i]);
        for (int j = 0; j < 2048; j++)
            CHECK_NEAR((double)small.logits[j], (double)large.logits[j], 2e-2); /* bf16 keys may round the other way */
    }
}

static void peak_stays_under_the_budget(void)
{
    make_model();
    check_budgets(N_TOKENS);
    check_budgets(N_SHORT);
    remove_folder(folder);
}

/* One token more than a chunk, and a whole phase of weights is packed ahead: 4 MiB at the least. OpenBLAS takes parts
 * that are as large. */
static void a_text_of_one_chunk_packs_nothing_ahead(void)
{
    quire_error err = {0};
    quire_model *model;
    quire_engine *engine;
    quire_plan plans[2];
    bool uses_openblas = false;
    make_model();
    REQUIRE_OK(quire_model_open(&model, model_path, &err));
    for (uint32_t i = 0; i < 2; i++) {
        quire_engine_options opts = quire_engine_defaults();
        opts.spill_path = folder;
        opts.n_threads = 1;
        opts.chunk_tokens = N_SHORT - i;
        REQUIRE_OK(quire_engine_open(&engine, model, &opts, &err));
        REQUIRE_OK(quire_engine_plan(engine, N_SHORT, N_NEW, &plans[i], &err));
        uses_openblas = strcmp(quire_engine_isa(engine), "base") == 0 || strcmp(quire_engine_isa(engine), "ref") == 0;
        quire_engine_close(engine);
    }
    CHECK(uses_openblas || plans[0].least_bytes + (2 << 20) < plans[1].least_bytes);
    quire_model_close(model);
    remove_folder(folder);
}

/* The page cache that the reading fills counts there, too, and must be let go; what the kernel keeps for the process
 * (page tables, pages on their way to the disk) is the little more. */
static void a_group_with_little_more_is_enough(void)
{
    uint64_t budget = 100 << 20;
    char group[320];
    if (!make_group(group, budget + (24 << 20)))
        SKIP("this process may not make control groups");
    make_model();
    struct result result = run(N_TOKENS, budget, group);
    CHECK(result.peak_bytes > 0); /* it was not killed */
    CHECK(result.peak_bytes <= budget);
    CHECK(result.plan.memory_bytes <= budget);
    remove_folder(folder);
    CHECK(rmdir(group) == 0);
}

static const struct test tests[] = {
    {"peak_stays_under_the_budget", peak_stays_under_the_budget},
    {"a_text_of_one_chunk_packs_nothing_ahead", a_text_of_one_chunk_packs_nothing_ahead},
    {"a_group_with_little_more_is_enough", a_group_with_little_more_is_enough},
};

TEST_MAIN(tests)
