/* One step: gradients of a batch, the question whether it stands, the weights, and what falls due behind it. */
#include <inttypes.h>
#include <math.h>

#include "base/sys.h"
#include "schedule.h"
#include "training.h"

/* --- the batch ---------------------------------------------------------------------------------------------------- */

/* The first batch from `batch` on that is not passed over. */
static uint64_t next_batch(const struct training_state *s, uint64_t batch)
{
    for (size_t i = 0; i < s->n_skips;) {
        bool is_inside = batch >= s->skips[i].first && batch < s->skips[i].end;
        batch = is_inside ? s->skips[i].end : batch;
        i = is_inside ? 0 : i + 1;
    }
    return batch;
}

static quire_status add_gradients(struct quire_training *t, struct net_loss *sum, quire_error *err)
{
    const struct train_config *c = &t->config;
    struct training_data *d = &t->data;
    uint32_t seq_len = t->model_config.max_seq_len, n = c->device_train_microbatch_size;
    double n_targets = (double)c->global_train_batch_size * seq_len;
    uint64_t position = t->state.batch * c->global_train_batch_size;
    struct net_batch batch = {.n_sequences = n, .n_tokens = seq_len, .tokens = d->tokens, .targets = d->targets};
    net_clear_gradients(t->net);
    *sum = (struct net_loss){0};
    for (uint32_t done = 0; done < c->global_train_batch_size; done += n) {
        struct net_loss loss;
        quire_status status = training_check_cancelled(t, err);
        for (uint32_t i = 0; i < n; i++)
            token_order_sample(&d->order, position + done + i, d->tokens + (size_t)i * seq_len,
                               d->targets + (size_t)i * seq_len);
        if (status == QUIRE_OK)
            status = token_file_check(&d->train_file, err);
        if (status == QUIRE_OK)
            status = net_backward(t->net, &batch, 1 / n_targets, &loss, err);
        if (status != QUIRE_OK)
            return status;
        sum->nll += loss.nll;
        sum->z_loss += loss.z_loss;
        sum->n_targets += loss.n_targets;
    }
    return QUIRE_OK;
}

/* --- a step that does not stand ----------------------------------------------------------------------------------- */

static void drop(struct quire_training *t, uint64_t step)
{
    char path[CHECKPOINT_PATH_SIZE];
    checkpoint_path(path, t->config.save_folder, step);
    if (sys.unlink(path) == 0)
        training_notice(t, "the checkpoint '%s' has seen batches that are passed over now, and is removed", path);
}

/* The batches to pass over: those up to the one in question. Where they were passed over and the step went wrong again
 * behind them, as many more on both sides of them as they are: what went wrong may have begun before it showed. */
static struct batch_range suspects(const struct training_state *s, uint64_t n_skip, bool is_again)
{
    const uint64_t most = 1 << 20;
    uint64_t end = s->batch + 1;
    const struct batch_range *last = s->n_skips > 0 ? &s->skips[s->n_skips - 1] : NULL;
    if (!is_again || !last || s->batch < last->end)
        return (struct batch_range){end > n_skip ? end - n_skip : 0, end};
    uint64_t width = last->end - last->first < most ? last->end - last->first : most;
    return (struct batch_range){last->first > width ? last->first - width : 0, end + width};
}

/* To the latest checkpoint that has seen none of the batches in question; without any to the start. Those that have
 * seen one go as soon as an older one is loaded; the oldest that is sound stays, or the run would begin anew. */
static quire_status go_back(struct quire_training *t, uint64_t first_batch, quire_error *err)
{
    bool is_resumed;
    quire_status status = training_resume(t, UINT64_MAX, &is_resumed, err);
    if (status == QUIRE_OK && !is_resumed)
        return training_load_start(t, err);
    while (status == QUIRE_OK && is_resumed && t->state.batch > first_batch) {
        uint64_t step = t->state.step;
        status = training_resume(t, step, &is_resumed, err);
        if (status == QUIRE_OK && is_resumed)
            drop(t, step);
    }
    return status;
}

/* Back before the step; the batches in question are passed over from now on. */
static quire_status step_back(struct quire_training *t, const char *why, double loss, double norm, quire_error *err)
{
    struct training_state before = t->state;
    bool is_again = t->spiked_at > 0 && before.step + 1 <= t->spiked_at;
    struct batch_range range = suspects(&before, t->config.spike.skip_batches, is_again);
    if (before.n_rollbacks >= t->config.spike.max_rollbacks ||
        before.n_skips == TRAIN_MAX_ROLLBACKS) /* also if a checkpoint says otherwise */
        return quire_fail(err, QUIRE_ERR_NUMERIC,
                          "step %" PRIu64 ": %s (loss %g, gradient norm %g), and the run has gone back %" PRIu64
                          " times; a lower optimizer.lr or a longer scheduler.t_warmup may help",
                          before.step + 1, why, loss, norm, before.n_rollbacks);
    quire_status status = go_back(t, range.first, err);
    if (status != QUIRE_OK)
        return status;
    t->state.n_rollbacks = before.n_rollbacks + 1;
    t->state.n_skips = before.n_skips;
    for (size_t i = 0; i < before.n_skips; i++)
        t->state.skips[i] = before.skips[i];
    t->state.skips[t->state.n_skips++] = range;
    t->spiked_at = before.step + 1;
    t->evaluated_step = UINT64_MAX; /* by other weights */
    training_notice(t,
                    "step %" PRIu64 ": %s (loss %g, gradient norm %g); back to step %" PRIu64
                    ", passing over the batches %" PRIu64 " to %" PRIu64,
                    before.step + 1, why, loss, norm, t->state.step, range.first, range.end - 1);
    training_log(t, "rollback",
                 json_pack("{s:s,s:I,s:o,s:o,s:I,s:I}", "why", why, "from_step", (json_int_t)before.step + 1, "loss",
                           training_number(loss), "gradient_norm", training_number(norm), "first_batch",
                           (json_int_t)range.first, "last_batch", (json_int_t)range.end - 1));
    return QUIRE_OK;
}

/* --- what falls due ----------------------------------------------------------------------------------------------- */

static bool is_due(const struct quire_training *t, struct duration interval)
{
    uint64_t n = train_config_steps(&t->config, interval);
    return n > 0 && (t->state.step % n == 0 || t->state.step == t->n_steps);
}

/* A mean that follows the last steps, so that the time left forgets how the machine was an hour ago. */
static void tell_step(struct quire_training *t, const struct net_loss *loss, double norm, double lr, double seconds)
{
    double n_tokens = (double)t->config.global_train_batch_size * t->model_config.max_seq_len;
    t->step_seconds = t->step_seconds == 0 ? seconds : 0.9 * t->step_seconds + 0.1 * seconds;
    quire_training_event event = {.kind = QUIRE_TRAINING_STEP,
                                  .n_tokens = t->state.n_tokens,
                                  .loss = loss->nll / (double)loss->n_targets,
                                  .gradient_norm = norm,
                                  .learning_rate = lr,
                                  .tokens_per_second = n_tokens / t->step_seconds,
                                  .seconds_left = (double)(t->n_steps - t->state.step) * t->step_seconds};
    event.flops = event.tokens_per_second * t->flops_per_token;
    training_tell(t, event);
    if (!is_due(t, t->config.log_interval))
        return;
    json_t *line =
        json_pack("{s:f,s:f,s:f,s:I,s:I,s:f,s:f}", "loss", event.loss, "gradient_norm", norm, "learning_rate", lr,
                  "tokens", (json_int_t)event.n_tokens, "batch", (json_int_t)t->state.batch - 1, "seconds", seconds,
                  "tokens_per_second", event.tokens_per_second);
    if (line && t->config.z_loss > 0)
        json_object_set_new(line, "z_loss", json_real(loss->z_loss / (double)loss->n_targets));
    if (line && t->peak_flops > 0)
        json_object_set_new(line, "share_of_peak", json_real(event.flops / t->peak_flops));
    training_log(t, "step", line);
}

static quire_status look_at_it(struct quire_training *t, quire_error *err)
{
    quire_status status = is_due(t, t->config.eval_interval) ? training_evaluate(t, err) : QUIRE_OK;
    if (status == QUIRE_OK && is_due(t, t->config.sample_interval))
        status = training_sample(t, err);
    return status;
}

/* A process that was killed behind its checkpoint may not have come to what was due there; the log knows. */
static quire_status make_up(struct quire_training *t, quire_error *err)
{
    uint64_t step = t->state.step;
    quire_status status = QUIRE_OK;
    if (step == 0)
        return QUIRE_OK;
    if (is_due(t, t->config.eval_interval) && !run_log_has(&t->log, "eval", step))
        status = training_evaluate(t, err);
    if (status == QUIRE_OK && is_due(t, t->config.sample_interval) && !run_log_has(&t->log, "sample", step))
        status = training_sample(t, err);
    return status;
}

/* A checkpoint first: what comes behind it may be long. One that cannot be written does not end the run. */
static quire_status do_due(struct quire_training *t, quire_error *err)
{
    quire_error inner = {0};
    if (is_due(t, t->config.save_interval) && training_save(t, &inner) != QUIRE_OK)
        training_notice(t,
                        "no checkpoint of step %" PRIu64 ": %s; the run goes on, and tries again when the next one is "
                        "due%s",
                        t->state.step, inner.message,
                        inner.status == QUIRE_ERR_NO_SPACE ? ": make room until then" : "");
    return look_at_it(t, err);
}

/* --- the step ----------------------------------------------------------------------------------------------------- */

static double learning_rate(const struct quire_training *t)
{
    const struct train_config *c = &t->config;
    return c->optimizer.lr * schedule_factor(c->scheduler.name, t->state.step + 1,
                                             train_config_steps(c, c->scheduler.t_warmup), t->n_steps,
                                             c->scheduler.alpha_f);
}

quire_status quire_training_step(quire_training *t, bool *is_done, quire_error *err)
{
    struct net_loss loss;
    quire_status status = t->is_resumed ? make_up(t, err) : QUIRE_OK;
    t->is_resumed = false;
    if (status != QUIRE_OK)
        return status;
    *is_done = t->state.step >= t->n_steps;
    if (*is_done)
        return QUIRE_OK;
    double start = sys_now(), lr = learning_rate(t);
    t->state.batch = next_batch(&t->state, t->state.batch);
    status = add_gradients(t, &loss, err);
    if (status != QUIRE_OK)
        return status;
    double norm = optim_clip_gradients(t->optim, t->config.clipping_threshold);
    double mean = loss.nll / (double)loss.n_targets;
    const char *why = spike_find(&t->state.spike, mean, norm);
    if (why)
        return step_back(t, why, mean, norm, err);
    optim_step(t->optim, lr);
    spike_add(&t->state.spike, mean);
    t->state.step++;
    t->state.batch++;
    t->state.n_tokens += loss.n_targets;
    tell_step(t, &loss, norm, lr, sys_now() - start);
    return do_due(t, err);
}

quire_status quire_training_save(quire_training *t, quire_error *err)
{
    return training_save(t, err);
}

quire_status quire_training_finish(quire_training *t, quire_error *err)
{
    quire_error unsaved = {0}; /* where the checkpoint has no room the model may have */
    (void)training_save(t, &unsaved);
    quire_status status = training_evaluate(t, err);
    if (status == QUIRE_OK)
        status = training_write_outputs(t, err);
    if (status == QUIRE_OK && unsaved.status != QUIRE_OK)
        status =
            quire_fail(err, unsaved.status, "no checkpoint of step %" PRIu64 ": %s", t->state.step, unsaved.message);
    if (status == QUIRE_OK)
        training_log(t, "end", NULL);
    return status;
}
