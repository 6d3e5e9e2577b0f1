/* The commit protocol of the KV store (KV-1, KV-4, KV-5) as a finite machine, and all of its states one after another.
 *
 * One book of two blocks: two writers that take turns, a reader, a branch that is made of the book, on a file system
 * that keeps of what was not synced whatever it likes. At any moment a writer may be killed, and the power may fail.
 * What is modelled is which file holds what, when a name or a content is sure, and who knows what; not the bytes.
 * Beside each step stands the function whose step it is; test_kv_model.c holds the order against a real commit's calls.
 */
#ifndef QUIRE_TESTS_KV_MODEL_H
#define QUIRE_TESTS_KV_MODEL_H

#include <stddef.h>

/* The steps of a commit, in the order that kv_commit.c has them. */
enum model_step {
    MODEL_SYNC_DATA,      /* sync_layers, write_tokens: blocks, summaries and tokens are durable */
    MODEL_WRITE_SIDE,     /* kv_side_create, kv_side_write: tail or flight */
    MODEL_SYNC_SIDE,      /* kv_side_finish */
    MODEL_SYNC_NAMES,     /* publish: sys_sync_folder, so that the new side files have durable names */
    MODEL_WRITE_MANIFEST, /* kv_file_replace: manifest.tmp */
    MODEL_SYNC_MANIFEST,
    MODEL_RENAME,      /* over the old manifest */
    MODEL_SYNC_RENAME, /* sys_sync_folder: from here on the commit is acknowledged */
    MODEL_REMOVE_OLD,  /* remove_sides: what only the old manifest named */
    MODEL_N_STEPS
};

/* Ways to get it wrong; each has to be found. */
enum model_mutation {
    MODEL_AS_IT_IS,
    MODEL_NO_DATA_SYNC,
    MODEL_NO_SIDE_SYNC,
    MODEL_NO_NAME_SYNC,
    MODEL_NO_MANIFEST_SYNC,
    MODEL_NO_RENAME_SYNC,
    MODEL_RENAME_BEFORE_SYNC,   /* of the new manifest */
    MODEL_RENAME_BEFORE_DATA,   /* is synced */
    MODEL_REMOVE_BEFORE_RENAME, /* the old side files */
    MODEL_NO_LOCK,
    MODEL_NO_SECOND_LOOK,      /* at the manifest, under the lock (become_writer) */
    MODEL_KEEP_FLIGHT,         /* while its blocks are overwritten (kv_book_put, kv_book_drop_flight) */
    MODEL_SWEEP_WITHOUT_SYNC,  /* side files that a manifest does not name whose own name is not sure */
    MODEL_BRANCH_WITHOUT_SYNC, /* off a manifest whose name is not sure */
    MODEL_N_MUTATIONS
};
extern const char *const model_mutation_names[MODEL_N_MUTATIONS];

/* The steps of a commit as the model takes them; returns how many. */
size_t model_commit_order(enum model_step order[MODEL_N_STEPS], enum model_mutation mutation);

/* How much of the world is there, beside two writers. Neither the reader nor the branch takes anything away from what
 * the others may do, so that each can be looked at by itself. */
struct model_world {
    unsigned max_kills, max_cuts;
    unsigned n_commits; /* of any kind, on the way from the first one; at most 4 */
    int has_reader, has_branch;
    enum model_mutation mutation;
};

struct model_result {
    size_t n_states, n_transitions;
    const char *violation; /* NULL: in no state is anything wrong */
};

/* Visits every state that can be reached, or stops at the first violation. prints_way: prints the way to it. */
struct model_result model_explore(const struct model_world *world, int prints_way);

#endif
