/* Which files a run uses, told before the first of them is opened, and what killed runs left beside them. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "convert/fresh.h"
#include "model/source.h"
#include "training.h"

quire_status training_texts_folder(char **out, const char *local, const char *split, quire_error *err)
{
    *out = split[0] ? path_join(local, split, err) : mem_strdup(local, err);
    return *out ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
}

static void add_read(quire_training_paths *paths, const char *path)
{
    if (path && path[0])
        paths->read[paths->n_read++] = path;
}

static quire_status add_written(quire_training_paths *paths, const char *path, quire_error *err)
{
    if (!path[0])
        return QUIRE_OK;
    paths->written[paths->n_written++] = path;
    return sys_make_folders(path, err);
}

quire_status training_tell_paths(const struct quire_training *t, quire_error *err)
{
    const struct train_config *c = &t->config;
    quire_training_paths paths = {0};
    char *train = NULL, *eval = NULL;
    quire_status status = training_texts_folder(&train, c->train_data.local, c->train_data.split, err);
    if (status == QUIRE_OK)
        status = training_texts_folder(&eval, c->eval_data.local, c->eval_data.split, err);
    if (status == QUIRE_OK)
        status = add_written(&paths, c->save_folder, err);
    if (status == QUIRE_OK)
        status = add_written(&paths, c->data_cache, err);
    add_read(&paths, t->options.model_path);
    add_read(&paths, c->tokenizer);
    add_read(&paths, train);
    add_read(&paths, c->eval_data.local[0] ? eval : NULL);
    add_read(&paths, c->holdout.list);
    if (status == QUIRE_OK && t->options.on_paths)
        t->options.on_paths(t->options.user, &paths);
    free(train);
    free(eval);
    return status;
}

void training_sweep(const struct quire_training *t)
{
    static const char *const names[] = {TRAINING_GGUF, TRAINING_FOLDER, TRAINING_SAMPLE};
    checkpoint_sweep(t->config.save_folder);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = path_join(t->config.save_folder, names[i], NULL);
        if (path)
            fresh_sweep(path);
        if (path && strcmp(names[i], TRAINING_SAMPLE) == 0) /* a complete one is of no use either */
            sys.unlink(path);
        free(path);
    }
}
