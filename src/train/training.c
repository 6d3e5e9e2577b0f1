/* A run from outside: opening, telling, closing. */
#include "training.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/mem.h"
#include "base/printable.h"
#include "base/threads.h"
#include "model/source.h"
#include "quire/quire.h"
#include "tokenizer/tokenizer_private.h"

/* --- telling ------------------------------------------------------------------------------------------------------ */

void training_tell(struct quire_training *t, quire_training_event event)
{
    event.step = t->state.step;
    event.n_steps = t->n_steps;
    if (t->options.on_event && t->options.on_event(t->options.user, &event) != 0)
        quire_training_cancel(t);
}

void training_notice(struct quire_training *t, const char *format, ...)
{
    char text[1200];
    va_list arguments;
    va_start(arguments, format);
    printable_vprint(text, sizeof text, format, arguments);
    va_end(arguments);
    training_tell(t, (quire_training_event){.kind = QUIRE_TRAINING_NOTICE, .text = text});
}

void training_log(struct quire_training *t, const char *event, json_t *object)
{
    quire_error err = {0};
    json_t *line = json_pack("{s:s,s:I}", "event", event, "step", (json_int_t)t->state.step);
    if (line && object)
        json_object_update(line, object);
    json_decref(object);
    if (run_log_add(&t->log, line, &err) != QUIRE_OK)
        training_notice(t, "the log lacks a line: %s", err.message);
}

json_t *training_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

quire_status training_check_cancelled(const struct quire_training *t, quire_error *err)
{
    if (!atomic_load_explicit(&t->is_cancelled, memory_order_relaxed))
        return QUIRE_OK;
    return quire_fail(err, QUIRE_ERR_CANCELLED, "cancelled after %" PRIu64 " steps", t->state.step);
}

void quire_training_cancel(quire_training *training)
{
    atomic_store_explicit(&training->is_cancelled, true, memory_order_relaxed);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* One process for a folder: two would remove each other's checkpoints. */
static quire_status lock_folder(struct quire_training *t, quire_error *err)
{
    quire_status status = QUIRE_OK;
    char *path = path_join(t->config.save_folder, "lock", err);
    if (!path)
        return QUIRE_ERR_NO_MEMORY;
    t->lock = sys.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (t->lock < 0)
        status = sys_fail(err, "open", path);
    else if (sys.flock(t->lock, LOCK_EX | LOCK_NB) != 0)
        status = quire_fail(err, errno == EWOULDBLOCK ? QUIRE_ERR_BUSY : QUIRE_ERR_IO,
                            errno == EWOULDBLOCK ? "another process trains in '%s'%s%s" : "cannot lock '%s'%s%s",
                            t->config.save_folder, errno == EWOULDBLOCK ? "" : ": ",
                            errno == EWOULDBLOCK ? "" : strerror(errno));
    free(path);
    return status;
}

/* The tokenizer that the configuration names, or the model's; both have to be the same. */
static quire_status open_tokenizer(struct quire_training *t, quire_error *err)
{
    const char *name = t->config.tokenizer;
    quire_tokenizer *of_model = NULL;
    if (!t->model && !name[0])
        return quire_fail(err, QUIRE_ERR_FORMAT,
                          "'%s': the key 'tokenizer.name' is missing: a tokenizer.json, or a model that has one",
                          t->config_path);
    quire_error why = {0};
    quire_status status = name[0] ? quire_tokenizer_open_path(&t->tokenizer, name, &why) : QUIRE_OK;
    if (status != QUIRE_OK)
        return quire_fail(err, status, "'%s', tokenizer.name: %s", t->config_path, why.message);
    if (t->model)
        status = quire_tokenizer_open(&of_model, t->model, err);
    if (status != QUIRE_OK)
        return status;
    if (!of_model)
        return QUIRE_OK;
    bool differs =
        t->tokenizer && strcmp(quire_tokenizer_fingerprint(t->tokenizer), quire_tokenizer_fingerprint(of_model)) != 0;
    if (differs)
        status = quire_fail(err, QUIRE_ERR_MISMATCH,
                            "'%s': the tokenizer '%s' gives other ids than the one of the model '%s'; leave "
                            "tokenizer.name out",
                            t->config_path, name, quire_model_path(t->model));
    quire_tokenizer_close(t->tokenizer);
    t->tokenizer = of_model;
    return status;
}

/* Found out now and not when the run is over. */
static quire_status check_writable(const struct quire_training *t, quire_error *err)
{
    if (!t->tokenizer->vocab.pieces)
        return QUIRE_OK;
    return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                      "'%s': the tokenizer is a SentencePiece vocabulary, which no model is written with; take a "
                      "tokenizer.json",
                      t->config_path);
}

/* Read now: the base's files need not be there when the run is over. */
static quire_status open_about(struct quire_training *t, quire_error *err)
{
    if (t->model)
        return about_of_base(&t->about, t->model, t->config.run_name, t->tokenizer, err);
    return about_init(&t->about, t->config.run_name, QUIRE_PROMPT_PLAIN, t->tokenizer, err);
}

/* What a run takes of memory, told, and compared with what there is. */
static quire_status plan_memory(struct quire_training *t, const struct net_options *net, enum optim_type optim,
                                quire_error *err)
{
    struct net_memory memory;
    quire_status status = net_plan(&memory, &t->model_config, net, err);
    if (status != QUIRE_OK)
        return status;
    const double mb = 1e-6;
    uint64_t state = optim_memory(optim, &memory), order = t->data.order.n_samples * sizeof *t->data.order.order;
    uint64_t total = memory.total + state + order, available = sys_available_memory_bytes();
    training_notice(t,
                    "memory: %.1f MB (weights %.1f, gradients %.1f, optimiser state %.1f, activations %.1f, scratch "
                    "%.1f), %.1f MB available",
                    (double)total * mb, (double)memory.parameters * mb, (double)memory.gradients * mb,
                    (double)state * mb, (double)memory.activations * mb, (double)(memory.scratch + order) * mb,
                    (double)available * mb);
    if (available == 0 || total <= available)
        return QUIRE_OK;
    const char *advice = "reduce model.d_model or model.n_layers, or take the optimiser decoupled_lionw";
    const char *batch = "";
    if (memory.activations > memory.parameters) {
        advice = net->recomputes ? "reduce model.max_seq_len or " : "set activation_checkpointing, or reduce ";
        batch = t->config.device_eval_batch_size > t->config.device_train_microbatch_size
                    ? "device_eval_batch_size"
                    : "device_train_microbatch_size";
    }
    return quire_fail(err, QUIRE_ERR_NO_MEMORY, "the run needs %.1f MB of memory and %.1f MB are available: %s%s",
                      (double)total * mb, (double)available * mb, advice, batch);
}

static quire_status open_net(struct quire_training *t, quire_error *err)
{
    const struct train_config *c = &t->config;
    const struct net_options net = {.n_sequences =
                                        (uint32_t)size_max(c->device_train_microbatch_size, c->device_eval_batch_size),
                                    .seq_len = t->model_config.max_seq_len,
                                    .precision = c->precision,
                                    .recomputes = c->activation_checkpointing,
                                    .z_loss = c->z_loss,
                                    .n_threads = t->options.n_threads,
                                    .isa = t->options.isa};
    const struct optim_options optim = {.type = c->optimizer.name,
                                        .lr = c->optimizer.lr,
                                        .beta1 = c->optimizer.betas[0],
                                        .beta2 = c->optimizer.betas[1],
                                        .eps = c->optimizer.eps,
                                        .weight_decay = c->optimizer.weight_decay};
    quire_status status = plan_memory(t, &net, optim.type, err);
    if (status == QUIRE_OK)
        status = net_open(&t->net, &t->model_config, &net, err);
    if (status == QUIRE_OK)
        status = optim_open(&t->optim, t->net, &optim, err);
    if (status == QUIRE_OK && c->precision == TRAIN_BF16 && strcmp(net_factors(t->net), "f32") == 0)
        training_notice(t, "this processor has no fast products of 16-bit numbers: amp_bf16 is computed as fp32");
    return status;
}

static void tell_config(struct quire_training *t)
{
    for (size_t i = 0; i < n_train_config_rows; i++) {
        char text[8200];
        train_config_format(text, sizeof text, &t->config, &train_config_rows[i]);
        training_tell(
            t, (quire_training_event){.kind = QUIRE_TRAINING_VALUE, .name = train_config_rows[i].key, .text = text});
    }
}

static void log_start(struct quire_training *t, bool is_resumed)
{
    training_log(t, is_resumed ? "resume" : "start",
                 json_pack("{s:s,s:o,s:s?,s:s,s:s,s:i,s:I,s:f,s:f,s:I,s:I,s:I,s:I}", "quire", quire_version(), "config",
                           train_config_json(&t->config), "model", t->model ? quire_model_path(t->model) : NULL,
                           "kernels", net_isa(t->net), "factors", net_factors(t->net), "threads",
                           (int)threads_count(net_threads(t->net)), "parameters", (json_int_t)net_n_parameters(t->net),
                           "flops_per_token", t->flops_per_token, "peak_flops", t->peak_flops, "train_tokens",
                           (json_int_t)t->data.train.n_ids, "eval_tokens", (json_int_t)t->data.eval.n_ids,
                           "samples_per_epoch", (json_int_t)t->data.order.n_samples, "n_steps",
                           (json_int_t)t->n_steps));
}

static quire_status open_state(struct quire_training *t, quire_error *err)
{
    bool is_resumed = false;
    quire_status status = training_resume(t, UINT64_MAX, &is_resumed, err);
    if (status == QUIRE_OK && !is_resumed)
        status = training_load_start(t, err);
    if (status == QUIRE_OK)
        status = run_log_open(&t->log, t->config.save_folder, err);
    if (status != QUIRE_OK)
        return status;
    if (t->options.measure_peak)
        t->peak_flops = t->options.measure_peak(t->options.user);
    log_start(t, is_resumed);
    if (is_resumed)
        training_notice(t, "going on after step %" PRIu64 " of %" PRIu64, t->state.step, t->n_steps);
    t->is_resumed = is_resumed;
    return QUIRE_OK;
}

static quire_status open_all(struct quire_training *t, quire_error *err)
{
    struct train_config_given given;
    quire_status status = train_config_load(&t->config, &given, t->config_path, err);
    if (status == QUIRE_OK)
        status = training_tell_paths(t, err);
    if (status == QUIRE_OK && t->options.model_path)
        status = quire_model_open(&t->model, t->options.model_path, err);
    if (status == QUIRE_OK)
        status = open_tokenizer(t, err);
    if (status == QUIRE_OK)
        status = check_writable(t, err);
    if (status == QUIRE_OK)
        status = open_about(t, err);
    if (status == QUIRE_OK)
        status = training_model_config(t, &given, err);
    if (status == QUIRE_OK)
        status = train_config_check_warmup(&t->config, t->config_path, err);
    if (status != QUIRE_OK)
        return status;
    t->config.model.vocab_size = t->model_config.vocab_size;
    t->n_steps = train_config_steps(&t->config, t->config.max_duration);
    tell_config(t);
    status = lock_folder(t, err);
    if (status == QUIRE_OK)
        training_sweep(t);
    if (status == QUIRE_OK)
        status = training_data_open(t, err);
    if (status == QUIRE_OK)
        status = open_net(t, err);
    if (status != QUIRE_OK)
        return status;
    t->flops_per_token = net_n_operations(t->net, 1, t->model_config.max_seq_len) / t->model_config.max_seq_len;
    return open_state(t, err);
}

quire_status quire_training_open(quire_training **out, const quire_training_options *opts, quire_error *err)
{
    if (!opts->config_path)
        return quire_fail(err, QUIRE_ERR_USAGE, "no configuration is given");
    struct quire_training *t = mem_calloc(1, sizeof *t, "a training run", err);
    if (!t)
        return QUIRE_ERR_NO_MEMORY;
    t->options = *opts;
    t->lock = t->log.fd = -1;
    t->saved_step = t->evaluated_step = UINT64_MAX;
    atomic_init(&t->is_cancelled, false);
    t->config_path = mem_strdup(opts->config_path, err);
    t->isa = opts->isa ? mem_strdup(opts->isa, err) : NULL;
    t->options.isa = t->isa;
    quire_status status = t->config_path && (t->isa || !opts->isa) ? open_all(t, err) : QUIRE_ERR_NO_MEMORY;
    if (status != QUIRE_OK) {
        quire_training_close(t);
        return status;
    }
    *out = t;
    return QUIRE_OK;
}

void quire_training_close(quire_training *t)
{
    if (!t)
        return;
    optim_close(t->optim);
    net_close(t->net);
    training_data_close(&t->data);
    about_release(&t->about);
    quire_tokenizer_close(t->tokenizer);
    quire_model_close(t->model);
    run_log_close(&t->log);
    if (t->lock >= 0)
        sys.close(t->lock);
    train_config_release(&t->config);
    free(t->config_path);
    free(t->isa);
    free(t);
}
