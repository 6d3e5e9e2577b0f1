#include "kv_model.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"

typedef uint8_t u8;

enum { N_BLOCKS = 2, N_GENERATIONS = 4, N_WRITERS = 2 };
enum { HOLE, TEXT_A, TEXT_B, TORN };       /* what a block holds */
enum { TAIL, FLIGHT, N_SIDES };            /* kinds of side files */
enum { ABSENT = 1, PRESENT = 2 };          /* what a crash may make of a name: both bits, while it is not synced */
enum { COMMIT, SAVE_FLIGHT, DROP_FLIGHT }; /* kv_book_commit, kv_book_save_flight, kv_book_drop_flight */

struct manifest {
    u8 frontier, flight; /* blocks; flight: the end of the span in flight, or 0 */
    u8 sides[N_SIDES];   /* generations; 0: none */
    u8 texts[N_BLOCKS];  /* whose blocks it counts */
};

struct side {
    u8 is_there, may_be; /* the name, now and after a crash */
    u8 is_whole, is_durable;
};

struct writer {
    u8 at; /* enum place */
    u8 job, step;
    u8 seen; /* generation; its manifest: */
    struct manifest manifest;
    u8 text, position; /* blocks put so far */
    u8 is_at_flight;
};
enum place { NOT_RUNNING, HAS_LOOKED, HAS_LOCK, HAS_LOOKED_AGAIN, HAS_SYNCED, READY, AT_WORK };

struct user { /* the reader, and the branch */
    u8 at, seen, frontier;
    u8 texts[N_BLOCKS];
};
enum { USER_NONE, USER_HAS_LOOKED, USER_HAS_SYNCED, USER_USES };

struct state {
    u8 blocks[N_BLOCKS], blocks_may_be[N_BLOCKS]; /* sets of values */
    struct side sides[N_SIDES][N_GENERATIONS + 1];
    struct manifest manifests[N_GENERATIONS + 1]; /* by generation: the files that were written */
    u8 is_manifest_durable[N_GENERATIONS + 1];    /* their contents */
    u8 named, named_may_be; /* generation of the file called "manifest", 0: there is none; set of those after a crash */
    u8 temporary;           /* generation of manifest.tmp */
    struct writer writers[N_WRITERS];
    struct user reader, branch;
    u8 sure, sure_frontier; /* generation and frontier that were acknowledged */
    u8 n_kills, n_cuts;
};

const char *const model_mutation_names[MODEL_N_MUTATIONS] = {"the protocol as it is",
                                                             "no sync of the data",
                                                             "no sync of a side file",
                                                             "no sync of its name",
                                                             "no sync of the new manifest",
                                                             "no sync of its name after the rename",
                                                             "rename before the manifest is synced",
                                                             "rename before the data is synced",
                                                             "old side files removed before the rename",
                                                             "no lock",
                                                             "no second look under the lock",
                                                             "a flight stays while its blocks are overwritten",
                                                             "sweep without a sync",
                                                             "branch without a sync"};

size_t model_commit_order(enum model_step order[MODEL_N_STEPS], enum model_mutation mutation)
{
    static const u8 missing[MODEL_N_MUTATIONS] = {[MODEL_NO_DATA_SYNC] = MODEL_SYNC_DATA + 1,
                                                  [MODEL_NO_SIDE_SYNC] = MODEL_SYNC_SIDE + 1,
                                                  [MODEL_NO_NAME_SYNC] = MODEL_SYNC_NAMES + 1,
                                                  [MODEL_NO_MANIFEST_SYNC] = MODEL_SYNC_MANIFEST + 1,
                                                  [MODEL_NO_RENAME_SYNC] = MODEL_SYNC_RENAME + 1};
    static const u8 moved[MODEL_N_MUTATIONS][2] = {
        /* this step comes right behind (before) that one */
        [MODEL_RENAME_BEFORE_SYNC] = {MODEL_SYNC_MANIFEST + 1, MODEL_RENAME},
        [MODEL_RENAME_BEFORE_DATA] = {MODEL_SYNC_DATA + 1, MODEL_RENAME},
        [MODEL_REMOVE_BEFORE_RENAME] = {MODEL_REMOVE_OLD + 1, MODEL_SYNC_MANIFEST}};
    size_t n = 0;
    for (enum model_step step = 0; step < MODEL_N_STEPS; step++) {
        if (step + 1 != missing[mutation] && step + 1 != moved[mutation][0])
            order[n++] = step;
        if (moved[mutation][0] && step == moved[mutation][1])
            order[n++] = (enum model_step)(moved[mutation][0] - 1);
    }
    return n;
}

/* --- what must hold ---------------------------------------------------------------------------------------------- */

static bool has_side(const struct state *s, int kind, u8 generation)
{
    const struct side *side = &s->sides[kind][generation];
    return generation == 0 || (side->is_there && side->is_whole);
}

static bool has_blocks(const struct state *s, const u8 *texts, u8 n)
{
    for (u8 i = 0; i < n; i++)
        if (s->blocks[i] != texts[i])
            return false;
    return true;
}

static const char *violation(const void *state)
{
    const struct state *s = state;
    const struct manifest *m = &s->manifests[s->named];
    int n_locked = 0;
    for (int i = 0; i < N_WRITERS; i++)
        n_locked += s->writers[i].at >= HAS_LOCK;
    if (n_locked > 1)
        return "the book has two writers (KV-4)";
    if (s->named < s->sure || (s->named && m->frontier < s->sure_frontier))
        return "a commit that was acknowledged is gone (KV-5)";
    if (s->named && !s->is_manifest_durable[s->named] && s->named_may_be == 1 << s->named)
        return "the manifest is torn (KV-5)";
    if (s->named && !(has_side(s, TAIL, m->sides[TAIL]) && has_side(s, FLIGHT, m->sides[FLIGHT])))
        return "the manifest names a side file that is not whole (KV-5)";
    if (s->named && !has_blocks(s, m->texts, m->flight ? m->flight : m->frontier))
        return "the manifest counts a block that is not its text's (KV-1, KV-5)";
    if (s->reader.at == USER_USES && !has_blocks(s, s->reader.texts, s->reader.frontier))
        return "a block changes under a reader (KV-1)";
    if (s->branch.at == USER_USES &&
        (m->frontier < s->branch.frontier || !has_blocks(s, s->branch.texts, s->branch.frontier)))
        return "a branch has lost its parent's blocks (KV-3)";
    return NULL;
}

/* --- the file system --------------------------------------------------------------------------------------------- */

static void sync_folder(struct state *s)
{
    s->named_may_be = (u8)(1 << s->named);
    for (int k = 0; k < N_SIDES; k++)
        for (int g = 1; g <= N_GENERATIONS; g++)
            s->sides[k][g].may_be = s->sides[k][g].is_there ? PRESENT : ABSENT;
}

static void make_side(struct state *s, int kind, u8 generation)
{
    struct side *side = &s->sides[kind][generation];
    *side = (struct side){.is_there = true, .may_be = (u8)(side->may_be | PRESENT), .is_whole = true};
}

static void remove_side(struct state *s, int kind, u8 generation)
{
    struct side *side = &s->sides[kind][generation];
    side->is_there = false;
    side->may_be |= generation ? ABSENT : 0;
}

/* Forgets what nothing refers to any more, so that states that differ in nothing else are one. */
static void forget(struct state *s)
{
    if (memcmp(&s->writers[0], &s->writers[1], sizeof s->writers[0]) < 0) { /* they are alike */
        struct writer first = s->writers[0];
        s->writers[0] = s->writers[1];
        s->writers[1] = first;
    }
    s->sides[TAIL][0] = s->sides[FLIGHT][0] = (struct side){0};
    for (int k = 0; k < N_SIDES; k++)
        for (int g = 1; g <= N_GENERATIONS; g++)
            if (s->sides[k][g].may_be == ABSENT)
                s->sides[k][g] = (struct side){.may_be = ABSENT};
    for (int g = 1; g <= N_GENERATIONS; g++)
        if (!(s->named_may_be >> g & 1) && s->temporary != g) {
            s->manifests[g] = (struct manifest){0};
            s->is_manifest_durable[g] = 0;
        }
}

static void emit(struct explorer *explorer, struct state *s, const char *what)
{
    forget(s);
    explorer_add(explorer, s, what);
}

/* --- writers ----------------------------------------------------------------------------------------------------- */

static struct manifest next_manifest(const struct writer *w)
{
    struct manifest next = w->manifest;
    u8 generation = (u8)(w->seen + 1);
    u8 end = w->job == DROP_FLIGHT ? w->manifest.frontier : w->position;
    for (u8 i = w->manifest.frontier; i < N_BLOCKS; i++)
        next.texts[i] = i < end ? w->text : 0;
    next.flight = next.sides[FLIGHT] = 0; /* clear_flight */
    if (w->job == COMMIT) {
        next.frontier = end;
        next.sides[TAIL] = generation;
    } else if (w->job == SAVE_FLIGHT) {
        next.flight = end;
        next.sides[FLIGHT] = generation;
    }
    return next;
}

static void take_step(struct state *s, struct writer *w, enum model_step step)
{
    u8 generation = (u8)(w->seen + 1);
    int kind = w->job == COMMIT ? TAIL : FLIGHT;
    struct manifest next = next_manifest(w);
    switch (step) {
    case MODEL_SYNC_DATA:
        for (int i = 0; i < N_BLOCKS; i++)
            s->blocks_may_be[i] = (u8)(1 << s->blocks[i]);
        break;
    case MODEL_WRITE_SIDE: make_side(s, kind, generation); break;
    case MODEL_SYNC_SIDE: s->sides[kind][generation].is_durable = true; break;
    case MODEL_SYNC_NAMES: sync_folder(s); break;
    case MODEL_WRITE_MANIFEST:
        s->temporary = generation;
        s->manifests[generation] = next;
        s->is_manifest_durable[generation] = false;
        break;
    case MODEL_SYNC_MANIFEST: s->is_manifest_durable[generation] = true; break;
    case MODEL_RENAME:
        s->named = generation;
        s->named_may_be |= (u8)(1 << generation);
        s->temporary = 0;
        break;
    case MODEL_SYNC_RENAME: sync_folder(s); break;
    case MODEL_REMOVE_OLD:
        for (int k = 0; k < N_SIDES; k++)
            if (w->manifest.sides[k] != next.sides[k])
                remove_side(s, k, w->manifest.sides[k]);
        break;
    case MODEL_N_STEPS: break;
    }
}

static void work(struct explorer *explorer, const struct state *from, int index, enum model_mutation mutation)
{
    static const char *const names[MODEL_N_STEPS] = {
        "syncs the data",        "writes a side file", "syncs the side file", "syncs the folder",
        "writes manifest.tmp",   "syncs manifest.tmp", "renames it",          "syncs the folder, and acknowledges",
        "removes old side files"};
    struct state s = *from;
    struct writer *w = &s.writers[index];
    enum model_step order[MODEL_N_STEPS];
    size_t n = model_commit_order(order, mutation);
    enum model_step step = order[w->step++];
    /* A drop writes no data and no side file. */
    if (w->job != DROP_FLIGHT || step >= MODEL_SYNC_NAMES)
        take_step(&s, w, step);
    if (w->step == n) {
        w->manifest = next_manifest(w);
        w->seen++;
        w->is_at_flight = w->job == SAVE_FLIGHT;
        w->at = READY;
        w->step = w->job = 0;
        s.sure = w->seen;
        s.sure_frontier = w->manifest.frontier;
    } else if (step == MODEL_SYNC_RENAME) {
        s.sure = (u8)(w->seen + 1);
        s.sure_frontier = next_manifest(w).frontier;
    }
    emit(explorer, &s, names[step]);
}

static void start_job(struct explorer *explorer, const struct state *from, int index, u8 job, unsigned n_commits,
                      const char *what)
{
    struct state s = *from;
    s.writers[index].job = job;
    s.writers[index].step = 0;
    s.writers[index].at = AT_WORK;
    if (s.writers[index].seen < n_commits)
        emit(explorer, &s, what);
}

/* A writer at its frontier: puts, commits, saves a flight, or ends. */
static void go_on(struct explorer *explorer, const struct state *from, int index, const struct model_world *world)
{
    const struct writer *w = &from->writers[index];
    struct state s = *from;
    bool has_foreign_flight = w->manifest.flight && !w->is_at_flight && world->mutation != MODEL_KEEP_FLIGHT;
    s.writers[index] = (struct writer){0};
    emit(explorer, &s, "closes the book");
    if (has_foreign_flight) {
        start_job(explorer, from, index, DROP_FLIGHT, world->n_commits, "starts to drop the flight");
        return;
    }
    if (w->position < N_BLOCKS) { /* kv_layer_put, seal_blocks */
        s = *from;
        s.blocks[w->position] = w->text;
        s.blocks_may_be[w->position] |= (u8)(1 << w->text | 1 << TORN);
        s.writers[index].position++;
        emit(explorer, &s, "puts a block");
    }
    if (w->position > w->manifest.frontier) {
        start_job(explorer, from, index, COMMIT, world->n_commits, "starts to commit");
        start_job(explorer, from, index, SAVE_FLIGHT, world->n_commits, "starts to save a flight");
    }
}

static bool is_locked(const struct state *s)
{
    for (int i = 0; i < N_WRITERS; i++)
        if (s->writers[i].at >= HAS_LOCK)
            return true;
    return false;
}

static bool is_leftover(const struct state *s, int kind, u8 generation)
{
    return s->sides[kind][generation].is_there && s->manifests[s->named].sides[kind] != generation;
}

static bool has_leftovers(const struct state *s)
{
    bool has_any = false;
    for (u8 g = 1; g <= N_GENERATIONS; g++)
        has_any = has_any || is_leftover(s, TAIL, g) || is_leftover(s, FLIGHT, g);
    return has_any;
}

/* kv_book_resume, become_writer. */
static void take_over(struct explorer *explorer, const struct state *from, int index, enum model_mutation mutation)
{
    struct state s = *from;
    struct writer *w = &s.writers[index];
    switch ((enum place)w->at) {
    case NOT_RUNNING: /* kv_candidate_load */
        w->at = HAS_LOOKED;
        w->seen = s.named;
        w->manifest = s.manifests[s.named];
        emit(explorer, &s, "looks at the manifest");
        return;
    case HAS_LOOKED: /* kv_file_lock */
        if (is_locked(&s) && mutation != MODEL_NO_LOCK)
            *w = (struct writer){0};
        else
            w->at = HAS_LOCK;
        emit(explorer, &s, "tries the lock");
        return;
    case HAS_LOCK: /* kv_store_manifest, the second time */
        if (w->seen != s.named && mutation != MODEL_NO_SECOND_LOOK)
            *w = (struct writer){0};
        else
            w->at = HAS_LOOKED_AGAIN;
        emit(explorer, &s, "looks again");
        return;
    case HAS_LOOKED_AGAIN: /* kv_side_remove_leftovers: sys_sync_folder */
        if (has_leftovers(&s) && mutation != MODEL_SWEEP_WITHOUT_SYNC)
            sync_folder(&s);
        w->at = HAS_SYNCED;
        emit(explorer, &s, "syncs the folder before it sweeps");
        return;
    default: break;
    }
    for (u8 g = 1; g <= N_GENERATIONS; g++) /* kv_side_remove_leftovers: unlink */
        for (int k = 0; k < N_SIDES; k++)
            if (is_leftover(&s, k, g))
                remove_side(&s, k, g);
    w->at = READY;
    for (u8 text = TEXT_A; text <= TEXT_B; text++) {
        u8 flight = w->manifest.flight;
        w->text = text;
        w->is_at_flight = flight && w->manifest.texts[flight - 1] == text;
        w->position = w->is_at_flight ? flight : w->manifest.frontier;
        emit(explorer, &s, text == TEXT_A ? "sweeps, and goes on with text A" : "sweeps, and goes on with text B");
    }
}

/* --- the reader and the branch ----------------------------------------------------------------------------------- */

static void look(struct explorer *explorer, const struct state *from, struct user *user, struct state *s,
                 const char *what)
{
    const struct manifest *m = &from->manifests[from->named];
    user->at = USER_HAS_LOOKED;
    user->seen = from->named;
    user->frontier = m->frontier;
    for (u8 i = 0; i < m->frontier; i++)
        user->texts[i] = m->texts[i];
    emit(explorer, s, what);
}

/* kv_book_resume for reading: the manifest, then its files; where they are gone, so is the manifest (reconsider). */
static void read(struct explorer *explorer, const struct state *from)
{
    struct state s = *from;
    struct user *reader = &s.reader;
    if (reader->at == USER_NONE && s.named && s.manifests[s.named].frontier) {
        look(explorer, from, reader, &s, "the reader looks at the manifest");
    } else if (reader->at == USER_HAS_LOOKED) {
        u8 seen = reader->seen;
        bool is_open = seen != s.named || has_side(&s, TAIL, s.manifests[seen].sides[TAIL]);
        if (seen != s.named) /* whether it still finds the old files or not: it may have to look again */
            *reader = (struct user){0};
        else if (is_open)
            reader->at = USER_USES;
        emit(explorer, &s, "the reader opens the files");
        if (seen != from->named) { /* they were still there */
            s = *from;
            s.reader.at = USER_USES;
            emit(explorer, &s, "the reader opens the files of the manifest before");
        }
    } else if (reader->at == USER_USES) {
        *reader = (struct user){0};
        emit(explorer, &s, "the reader closes");
    }
}

/* open_branch: what the branch itself commits is another book, by the same protocol; here only what it needs of this
 * one: once committed it is there for ever. */
static void branch_off(struct explorer *explorer, const struct state *from, enum model_mutation mutation)
{
    struct state s = *from;
    if (s.branch.at == USER_NONE && s.named && s.manifests[s.named].frontier) {
        look(explorer, from, &s.branch, &s, "the branch looks at the manifest");
    } else if (s.branch.at == USER_HAS_LOOKED) { /* sys_sync_folder */
        if (mutation != MODEL_BRANCH_WITHOUT_SYNC)
            sync_folder(&s);
        s.branch.at = USER_HAS_SYNCED;
        emit(explorer, &s, "the branch syncs its parent's folder");
    } else if (s.branch.at == USER_HAS_SYNCED) {
        s.branch.at = USER_USES;
        s.branch.seen = 0;
        emit(explorer, &s, "the branch is committed");
    }
}

/* --- crashes ----------------------------------------------------------------------------------------------------- */

static void kill_writer(struct explorer *explorer, const struct state *from, int index, unsigned max_kills)
{
    struct state s = *from;
    if (s.writers[index].at == NOT_RUNNING || s.n_kills == max_kills)
        return;
    s.writers[index] = (struct writer){0};
    s.n_kills++;
    emit(explorer, &s, "kill -9");
}

/* Every outcome of a power cut, by choosing for one thing after another. Nothing is left in flux. */
static void settle_sides(struct explorer *explorer, const struct state *from, int index)
{
    if (index == N_SIDES * (N_GENERATIONS + 1)) {
        struct state s = *from;
        emit(explorer, &s, "the power fails");
        return;
    }
    for (u8 is_there = 0; is_there < 2; is_there++)
        for (u8 is_whole = 0; is_whole < 2; is_whole++) {
            struct state s = *from;
            struct side *side = &s.sides[index % N_SIDES][index / N_SIDES];
            bool may = side->may_be & (is_there ? PRESENT : ABSENT);
            bool may_be_whole = is_there ? side->is_whole && (is_whole || !side->is_durable) : !is_whole;
            bool is_torn_anyway = is_there && !side->is_whole && !is_whole;
            if (index / N_SIDES == 0) { /* generation 0 is none */
                if (!is_there && !is_whole)
                    settle_sides(explorer, &s, index + 1);
                continue;
            }
            if (!may || !(may_be_whole || is_torn_anyway))
                continue;
            *side = (struct side){is_there, is_there ? PRESENT : ABSENT, is_whole, is_whole};
            settle_sides(explorer, &s, index + 1);
        }
}

static void settle_blocks(struct explorer *explorer, const struct state *from, int index)
{
    if (index == N_BLOCKS) {
        settle_sides(explorer, from, 0);
        return;
    }
    for (u8 value = HOLE; value <= TORN; value++)
        if (from->blocks_may_be[index] >> value & 1) {
            struct state s = *from;
            s.blocks[index] = value;
            s.blocks_may_be[index] = (u8)(1 << value);
            settle_blocks(explorer, &s, index + 1);
        }
}

static void cut_power(struct explorer *explorer, const struct state *from, unsigned max_cuts)
{
    if (from->n_cuts == max_cuts)
        return;
    for (u8 g = 0; g <= N_GENERATIONS; g++)
        if (from->named_may_be >> g & 1) {
            struct state s = *from;
            s.n_cuts++;
            memset(s.writers, 0, sizeof s.writers);
            s.reader = (struct user){0};
            if (s.branch.at != USER_USES)
                s.branch = (struct user){0};
            s.temporary = 0;
            s.named = g;
            s.named_may_be = (u8)(1 << g);
            settle_blocks(explorer, &s, 0);
        }
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static void expand(struct explorer *explorer, const void *state, const void *argument)
{
    const struct state *s = state;
    const struct model_world *world = argument;
    for (int i = 0; i < N_WRITERS; i++) {
        if (s->writers[i].at == AT_WORK)
            work(explorer, s, i, world->mutation);
        else if (s->writers[i].at == READY)
            go_on(explorer, s, i, world);
        else
            take_over(explorer, s, i, world->mutation);
        kill_writer(explorer, s, i, world->max_kills);
    }
    if (world->has_reader)
        read(explorer, s);
    if (world->has_branch)
        branch_off(explorer, s, world->mutation);
    cut_power(explorer, s, world->max_cuts);
}

struct model_result model_explore(const struct model_world *world, int prints_way)
{
    struct state start = {0};
    start.named_may_be = 1;
    for (int i = 0; i < N_BLOCKS; i++)
        start.blocks_may_be[i] = 1 << HOLE;
    for (int k = 0; k < N_SIDES; k++)
        for (int g = 1; g <= N_GENERATIONS; g++)
            start.sides[k][g].may_be = ABSENT;
    struct explored explored = explore(&start, sizeof start, expand, world, violation, prints_way);
    return (struct model_result){explored.n_states, explored.n_transitions, explored.violation};
}
