/* Validation: every window once, in batches of windows; a shorter one is filled up with tokens whose targets do not
 * count. Losses are summed window by window, so that the batches' size does not matter. */
#include <math.h>
#include <string.h>

#include "training.h"

/* Puts windows [first, first + n) into a batch as long as the longest of them. */
static struct net_batch make_batch(const struct quire_training *t, size_t first, uint32_t n)
{
    const struct training_data *d = &t->data;
    struct net_batch batch = {.n_sequences = n, .tokens = d->tokens, .targets = d->targets};
    for (uint32_t i = 0; i < n; i++)
        if (d->windows[first + i].n_targets > batch.n_tokens)
            batch.n_tokens = d->windows[first + i].n_targets;
    for (uint32_t i = 0; i < n; i++) {
        const struct token_window *window = &d->windows[first + i];
        uint32_t *tokens = d->tokens + (size_t)i * batch.n_tokens, *targets = d->targets + (size_t)i * batch.n_tokens;
        token_set_copy(&d->eval, window->first, window->n_targets, tokens);
        token_set_copy(&d->eval, window->first + 1, window->n_targets, targets);
        for (uint32_t j = window->n_targets; j < batch.n_tokens; j++) {
            tokens[j] = 0;
            targets[j] = NET_IGNORE;
        }
    }
    return batch;
}

quire_status training_evaluate(struct quire_training *t, quire_error *err)
{
    const struct train_config *c = &t->config;
    uint32_t size = c->device_eval_batch_size ? c->device_eval_batch_size : c->device_train_microbatch_size;
    double nll = 0;
    uint64_t n_targets = 0;
    if (!t->data.windows || t->evaluated_step == t->state.step)
        return QUIRE_OK;
    for (size_t first = 0; first < t->data.n_windows;) {
        size_t left = t->data.n_windows - first;
        struct net_batch batch = make_batch(t, first, left < size ? (uint32_t)left : size);
        struct net_loss loss;
        quire_status status = training_check_cancelled(t, err);
        if (status == QUIRE_OK)
            status = net_forward(t->net, &batch, &loss, NULL, err);
        if (status != QUIRE_OK)
            return status;
        nll += loss.nll;
        n_targets += loss.n_targets;
        first += batch.n_sequences;
    }
    quire_status status = token_file_check(t->data.eval.file, err);
    if (status != QUIRE_OK)
        return status;
    quire_training_event event = {.kind = QUIRE_TRAINING_EVAL, .loss = nll / (double)n_targets, .n_tokens = n_targets};
    event.perplexity = exp(event.loss);
    t->evaluated_step = t->state.step;
    training_tell(t, event);
    training_log(t, "eval",
                 json_pack("{s:o,s:o,s:I}", "loss", training_number(event.loss), "perplexity",
                           training_number(event.perplexity), "predicted_tokens", (json_int_t)n_targets));
    return QUIRE_OK;
}
