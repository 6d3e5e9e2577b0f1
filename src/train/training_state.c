/* What a run stands on: its start, and its checkpoints. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "training.h"

quire_status training_load_start(struct quire_training *t, quire_error *err)
{
    struct optim_state states[2];
    size_t n_states = optim_states(t->optim, states);
    for (size_t i = 0; i < n_states; i++)
        memset(states[i].data, 0, states[i].n * sizeof *states[i].data);
    optim_set_n_steps(t->optim, 0);
    t->state =
        (struct training_state){.spike = {.threshold = t->config.spike.threshold, .window = t->config.spike.window}};
    if (t->model)
        return net_load(t->net, t->model, err);
    const struct net_init_options init = {.name = t->config.model.init_config.name,
                                          .init_std = t->config.model.init_config.init_std,
                                          .emb_init_std = t->config.model.init_config.emb_init_std,
                                          .residual_divisor = t->config.model.init_config.init_div_is_residual ? 0 : 1,
                                          .seed = t->config.seed};
    net_init(t->net, &init);
    return QUIRE_OK;
}

/* --- the state as JSON -------------------------------------------------------------------------------------------- */

/* What the numbers depend on beside the configuration. A list that holds documents out is a file, which may change. */
static json_t *identity_json(const struct quire_training *t)
{
    char documents[20];
    snprintf(documents, sizeof documents, "%016" PRIx64,
             hash64(t->data.train.documents, t->data.train.n_documents * sizeof *t->data.train.documents));
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "training data", t->data.train_file.key, "choice of documents",
                     documents, "tokenizer", quire_tokenizer_fingerprint(t->tokenizer), "start",
                     t->model ? quire_model_fingerprint(t->model) : "new", "kernels", net_isa(t->net), "factors",
                     net_factors(t->net));
}

static json_t *state_json(const struct quire_training *t)
{
    const struct training_state *s = &t->state;
    json_t *skips = json_array(), *losses = json_array();
    for (size_t i = 0; i < s->n_skips; i++)
        json_array_append_new(skips, json_pack("[I,I]", (json_int_t)s->skips[i].first, (json_int_t)s->skips[i].end));
    for (size_t i = 0; i < s->spike.n; i++)
        json_array_append_new(losses, json_real(s->spike.losses[i]));
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:o}", "step", (json_int_t)s->step, "batch",
                     (json_int_t)s->batch, "tokens", (json_int_t)s->n_tokens, "rollbacks", (json_int_t)s->n_rollbacks,
                     "optimizer_steps", (json_int_t)optim_n_steps(t->optim), "spiked_at", (json_int_t)t->spiked_at,
                     "skips", skips, "losses", losses, "identity", identity_json(t), "config",
                     train_config_json(&t->config));
}

static bool read_count(uint64_t *out, const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    *out = (uint64_t)json_integer_value(value);
    return json_is_integer(value) && json_integer_value(value) >= 0;
}

static quire_status read_state(struct quire_training *t, const struct checkpoint *c, struct training_state *out,
                               uint64_t *n_optim_steps, uint64_t *spiked_at, quire_error *err)
{
    const json_t *skips = json_object_get(c->state, "skips"), *losses = json_object_get(c->state, "losses");
    struct training_state s = {.spike = {.threshold = t->config.spike.threshold, .window = t->config.spike.window}};
    bool is_sound = read_count(&s.step, c->state, "step") && read_count(&s.batch, c->state, "batch") &&
                    read_count(&s.n_tokens, c->state, "tokens") && read_count(&s.n_rollbacks, c->state, "rollbacks") &&
                    read_count(n_optim_steps, c->state, "optimizer_steps") &&
                    read_count(spiked_at, c->state, "spiked_at") && json_array_size(skips) <= TRAIN_MAX_ROLLBACKS &&
                    json_array_size(losses) <= SPIKE_MAX_WINDOW;
    for (size_t i = 0; is_sound && i < json_array_size(skips); i++) {
        json_int_t first, end;
        is_sound = json_unpack(json_array_get(skips, i), "[I,I]", &first, &end) == 0 && first >= 0 && end >= first;
        if (is_sound)
            s.skips[s.n_skips++] = (struct batch_range){(uint64_t)first, (uint64_t)end};
    }
    for (size_t i = 0; is_sound && i < json_array_size(losses); i++)
        spike_add(&s.spike, json_number_value(json_array_get(losses, i)));
    if (!is_sound)
        return quire_fail(err, QUIRE_ERR_FORMAT, "the checkpoint '%s' is damaged: its state", c->path);
    *out = s;
    return QUIRE_OK;
}

static quire_status check_identity(struct quire_training *t, const struct checkpoint *c, quire_error *err)
{
    json_t *mine = identity_json(t);
    const json_t *saved = json_object_get(c->state, "identity");
    quire_status status = train_config_check_same(&t->config, json_object_get(c->state, "config"), c->path, err);
    for (void *i = json_object_iter(mine); i && status == QUIRE_OK; i = json_object_iter_next(mine, i)) {
        const char *field = json_object_iter_key(i), *now = json_string_value(json_object_iter_value(i));
        const char *before = json_string_value(json_object_get(saved, field));
        if (before && strcmp(before, now) == 0)
            continue;
        if (strcmp(field, "kernels") == 0 || strcmp(field, "factors") == 0)
            training_notice(t,
                            "the run began with the %s '%s' and goes on with '%s': its numbers will not be the ones "
                            "of a run without interruption",
                            field, before ? before : "(unknown)", now);
        else
            status = quire_fail(err, QUIRE_ERR_MISMATCH,
                                "the %s of this run is %s, the checkpoint '%s' has %s; put it back, or name another "
                                "save_folder",
                                field, now, c->path, before ? before : "none");
    }
    json_decref(mine);
    return status;
}

/* --- checkpoints -------------------------------------------------------------------------------------------------- */

quire_status training_save(struct quire_training *t, quire_error *err)
{
    char path[CHECKPOINT_PATH_SIZE];
    struct optim_state states[2];
    struct checkpoint_part parts[3];
    size_t n_weights, n_states = optim_states(t->optim, states);
    if (t->saved_step == t->state.step)
        return QUIRE_OK;
    const float *weights = net_weights(t->net, &n_weights);
    parts[0] = (struct checkpoint_part){"weights", weights, n_weights * sizeof *weights};
    for (size_t i = 0; i < n_states; i++)
        parts[1 + i] = (struct checkpoint_part){states[i].name, states[i].data, states[i].n * sizeof *states[i].data};
    json_t *state = state_json(t);
    if (!state)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a checkpoint's state");
    checkpoint_path(path, t->config.save_folder, t->state.step);
    quire_status status = checkpoint_save(path, state, parts, 1 + n_states, err);
    json_decref(state);
    if (status != QUIRE_OK)
        return status;
    t->saved_step = t->state.step;
    checkpoint_prune(t->config.save_folder, t->config.save_num_checkpoints_to_keep);
    training_tell(t, (quire_training_event){.kind = QUIRE_TRAINING_SAVED, .text = path});
    training_log(t, "save", json_pack("{s:s}", "path", path));
    return QUIRE_OK;
}

/* Puts the run where the checkpoint is. */
static quire_status load(struct quire_training *t, const struct checkpoint *c, quire_error *err)
{
    struct optim_state states[2];
    struct training_state state;
    uint64_t n_optim_steps = 0, spiked_at = 0;
    size_t n_weights, n_states = optim_states(t->optim, states);
    float *weights = net_weights(t->net, &n_weights);
    quire_status status = read_state(t, c, &state, &n_optim_steps, &spiked_at, err);
    if (status == QUIRE_OK)
        status = checkpoint_read(c, "weights", weights, n_weights * sizeof *weights, err);
    for (size_t i = 0; i < n_states && status == QUIRE_OK; i++)
        status = checkpoint_read(c, states[i].name, states[i].data, states[i].n * sizeof *states[i].data, err);
    if (status != QUIRE_OK)
        return status;
    optim_set_n_steps(t->optim, n_optim_steps);
    t->state = state;
    t->spiked_at = spiked_at;
    t->saved_step = state.step;
    return QUIRE_OK;
}

/* A damaged checkpoint loses its name, so that it does not count among those that are kept. */
static void put_aside(struct quire_training *t, const char *path, const quire_error *why)
{
    char aside[CHECKPOINT_PATH_SIZE + 16];
    snprintf(aside, sizeof aside, "%s" CHECKPOINT_DAMAGED, path);
    bool is_moved = why->status == QUIRE_ERR_FORMAT && sys.rename(path, aside) == 0;
    training_notice(t, "%s; an older one is looked for%s%s", why->message, is_moved ? ", and it is now " : "",
                    is_moved ? aside : "");
}

quire_status training_resume(struct quire_training *t, uint64_t end, bool *is_resumed, quire_error *err)
{
    uint64_t *steps;
    size_t n;
    quire_status status = checkpoint_list(&steps, &n, t->config.save_folder, err);
    *is_resumed = false;
    for (size_t i = 0; status == QUIRE_OK && i < n && !*is_resumed; i++) {
        char path[CHECKPOINT_PATH_SIZE];
        struct checkpoint checkpoint;
        quire_error inner = {0};
        if (steps[i] >= end)
            continue;
        checkpoint_path(path, t->config.save_folder, steps[i]);
        status = checkpoint_open(&checkpoint, path, &inner);
        if (status == QUIRE_ERR_FORMAT || status == QUIRE_ERR_IO) { /* the one before it may be sound */
            put_aside(t, path, &inner);
            status = QUIRE_OK;
            continue;
        }
        if (status != QUIRE_OK) {
            quire_fail(err, status, "%s", inner.message);
            break;
        }
        status = check_identity(t, &checkpoint, err);
        if (status == QUIRE_OK)
            status = load(t, &checkpoint, err);
        *is_resumed = status == QUIRE_OK;
        checkpoint_close(&checkpoint);
    }
    if (status == QUIRE_OK && !*is_resumed && end == UINT64_MAX &&
        (n > 0 || checkpoint_is_damaged(t->config.save_folder)))
        status = quire_fail(err, QUIRE_ERR_FORMAT,
                            "no checkpoint in '%s' is sound; move those that end in '" CHECKPOINT_DAMAGED
                            "' away to begin anew",
                            t->config.save_folder);
    free(steps);
    return status;
}
