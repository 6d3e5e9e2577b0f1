/* The commit protocol, in all of its states; and that the states would tell if it were another. */
#include "base/sys.h"
#include "kv/kv_book.h"
#include "kv/kv_record.h"
#include "kv/kv_test.h"
#include "kv_model.h"

static const struct model_world worlds[] = {
    {.n_commits = 3, .max_kills = 1, .max_cuts = 1, .has_branch = 1},
#ifndef TEST_SANITIZED
    {.n_commits = 3, .max_kills = 1, .max_cuts = 1, .has_reader = 1},
    {.n_commits = 3, .max_kills = 1, .max_cuts = 2},
#endif
};
enum { N_WORLDS = sizeof worlds / sizeof *worlds };

static void the_protocol_holds_in_every_state(void) /* KV-1, KV-3, KV-4, KV-5 */
{
    for (int i = 0; i < N_WORLDS; i++) {
        struct model_result result = model_explore(&worlds[i], true);
        printf("     %u kills, %u power cuts%s%s: %zu states, %zu transitions\n", worlds[i].max_kills,
               worlds[i].max_cuts, worlds[i].has_reader ? ", a reader" : "", worlds[i].has_branch ? ", a branch" : "",
               result.n_states, result.n_transitions);
        CHECK_EQ_STR(result.violation ? result.violation : "", "");
        CHECK(result.n_states > 50000);
    }
}

static void every_mutation_is_caught(void)
{
    for (enum model_mutation mutation = MODEL_AS_IT_IS + 1; mutation < MODEL_N_MUTATIONS; mutation++) {
        struct model_result result = {0};
        size_t n_states = 0;
        for (int i = 0; i < N_WORLDS && !result.violation; i++) {
            struct model_world world = worlds[i];
            world.mutation = mutation;
            result = model_explore(&world, false);
            n_states += result.n_states;
        }
        printf("     %s: %s (after %zu states)\n", model_mutation_names[mutation],
               result.violation ? result.violation : "not caught", n_states);
        CHECK(result.violation != NULL);
    }
}

/* Which step of the model a recorded call is; MODEL_N_STEPS: none of a commit (it belongs to puts, or to no step). */
static enum model_step step_of(const struct record *record, size_t index, bool is_renamed)
{
    const struct record_event *event = &record->events[index];
    int node = event->node;
    const char *name = node >= 0 ? record->nodes[node].name : event->name;
    bool is_data = strncmp(name, "layer", 5) == 0 || strncmp(name, "summary", 7) == 0 || strcmp(name, "tokens") == 0;
    bool is_manifest = strncmp(name, "manifest", 8) == 0;
    switch (event->kind) {
    case RECORD_SYNC:
        if (record->nodes[node].is_folder)
            return is_renamed ? MODEL_SYNC_RENAME : MODEL_SYNC_NAMES;
        return is_data ? MODEL_SYNC_DATA : is_manifest ? MODEL_SYNC_MANIFEST : MODEL_SYNC_SIDE;
    case RECORD_RENAME: return MODEL_RENAME;
    case RECORD_REMOVE: return MODEL_REMOVE_OLD;
    case RECORD_WRITE: return is_data ? MODEL_SYNC_DATA : is_manifest ? MODEL_WRITE_MANIFEST : MODEL_WRITE_SIDE;
    default: return is_manifest ? MODEL_WRITE_MANIFEST : is_data ? MODEL_N_STEPS : MODEL_WRITE_SIDE;
    }
}

/* The steps of what was recorded, each once for each time that it comes after another one. */
static size_t steps_of(enum model_step *steps, const struct record *record, size_t first)
{
    size_t n = 0;
    bool is_renamed = false;
    for (size_t i = first; i < record->n_events; i++) {
        enum model_step step = step_of(record, i, is_renamed);
        is_renamed = is_renamed || step == MODEL_RENAME;
        if (step != MODEL_N_STEPS && (n == 0 || steps[n - 1] != step))
            steps[n++] = step;
    }
    return n;
}

static void check_order(const struct record *record, size_t first, const enum model_step *want, size_t n_want)
{
    enum model_step *steps = malloc((record->n_events + 1) * sizeof *steps);
    size_t n = steps_of(steps, record, first);
    CHECK_EQ_INT(n, n_want);
    for (size_t i = 0; i < n && i < n_want; i++)
        CHECK_EQ_INT(steps[i], want[i]);
    free(steps);
}

/* The order in which the model takes its steps is the one in which the store makes its calls. */
static void a_real_commit_takes_the_models_steps(void) /* KV-5 */
{
    static const enum model_step two_sides[] = {MODEL_SYNC_DATA,      MODEL_WRITE_SIDE,    MODEL_SYNC_SIDE,
                                                MODEL_WRITE_SIDE,     MODEL_SYNC_SIDE,     MODEL_SYNC_NAMES,
                                                MODEL_WRITE_MANIFEST, MODEL_SYNC_MANIFEST, MODEL_RENAME,
                                                MODEL_SYNC_RENAME,    MODEL_REMOVE_OLD};
    static const enum model_step no_side[] = {MODEL_SYNC_NAMES, MODEL_WRITE_MANIFEST, MODEL_SYNC_MANIFEST,
                                              MODEL_RENAME,     MODEL_SYNC_RENAME,    MODEL_REMOVE_OLD};
    enum model_step one_side[MODEL_N_STEPS];
    size_t n_steps = model_commit_order(one_side, MODEL_AS_IT_IS);
    struct record record;
    struct kv_book *book;
    char folder[KV_PATH_SIZE];
    float residual[70] = {0};
    quire_error err = {0};
    size_t first;
    struct kv_geometry geometry = kv_test_geometry(QUIRE_KV_BF16);
    int32_t *text = kv_test_text(400, 61);
    kv_test_begin(folder);
    record_begin(&record, folder);
    struct kv_store *store = kv_test_store(folder, &geometry);
    REQUIRE_OK(kv_book_open(&book, store, text, 400, false, &err));
    REQUIRE_OK(kv_test_put(book, &geometry, text, 0, 100, &err));
    REQUIRE_OK(kv_book_commit(book, text, 100, NULL, 0, &err));

    first = record.n_events; /* another tail takes the first one's place */
    REQUIRE_OK(kv_test_put(book, &geometry, text, 100, 130, &err));
    REQUIRE_OK(kv_book_commit(book, text, 230, NULL, 0, &err));
    check_order(&record, first, one_side, n_steps);

    REQUIRE_OK(kv_test_put(book, &geometry, text, 230, 50, &err));
    struct kv_flight flight = {.span_first = 230, .span_end = 300, .layer = 1, .kv_token = 280};
    REQUIRE_OK(kv_book_save_flight(book, text, 300, &flight, residual, sizeof residual, &err));
    first = record.n_events; /* flight and residual stream */
    REQUIRE_OK(kv_test_put(book, &geometry, text, 280, 20, &err));
    flight.kv_token = 300;
    REQUIRE_OK(kv_book_save_flight(book, text, 300, &flight, residual, sizeof residual, &err));
    check_order(&record, first, two_sides, sizeof two_sides / sizeof *two_sides);

    kv_book_close(book);
    REQUIRE_OK(kv_book_open(&book, store, text, 400, false, &err));
    first = record.n_events; /* what is put from the frontier on drops the flight; first the flight's files go */
    REQUIRE_OK(kv_test_put_layer(book, &geometry, 0, text, 230, 1, &err));
    check_order(&record, first, no_side, sizeof no_side / sizeof *no_side);
    kv_book_close(book);
    kv_store_close(store);
    record_end();
    record_release(&record);
    kv_test_end(folder);
    free(text);
}

static const struct test tests[] = {
    {"the_protocol_holds_in_every_state", the_protocol_holds_in_every_state},
    {"every_mutation_is_caught", every_mutation_is_caught},
    {"a_real_commit_takes_the_models_steps", a_real_commit_takes_the_models_steps},
};
TEST_MAIN(tests)
