/* What the model writes at some point of the run: by the engine, on a temporary model, as anybody would have it. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "model/source.h"
#include "quire/engine.h"
#include "quire/sampler.h"
#include "training.h"

struct writing {
    quire_model *model;
    quire_engine *engine;
    quire_book *book;
    quire_sampler *sampler;
    quire_decoder *decoder;
    int32_t *ids; /* of the prompt */
    size_t n_ids;
    char *text;
    size_t n, capacity;
};

static quire_status open_writing(struct writing *w, const struct quire_training *t, const char *path, quire_error *err)
{
    const struct train_config *c = &t->config;
    quire_engine_options options = quire_engine_defaults();
    quire_sampler_options sampling = quire_sampler_defaults();
    options.n_threads = t->options.n_threads;
    options.isa = t->options.isa;
    sampling.temperature = (float)c->sample_temperature;
    sampling.seed = c->seed + t->state.step;
    quire_status status = quire_model_open(&w->model, path, err);
    if (status == QUIRE_OK)
        status = quire_engine_open(&w->engine, w->model, &options, err);
    if (status == QUIRE_OK)
        status = quire_sampler_open(&w->sampler, &sampling, t->model_config.vocab_size,
                                    quire_tokenizer_n_tokens(t->tokenizer), err);
    if (status == QUIRE_OK)
        status = quire_decoder_open(&w->decoder, t->tokenizer, false, err);
    if (status == QUIRE_OK)
        status = quire_encode(t->tokenizer, c->sample_prompt, strlen(c->sample_prompt), false, &w->ids, &w->n_ids, err);
    if (status == QUIRE_OK && w->n_ids == 0)
        status = quire_fail(err, QUIRE_ERR_FORMAT, "sample_prompt has no token");
    if (status == QUIRE_OK)
        status = quire_book_open(&w->book, w->engine, err);
    return status;
}

static quire_status add_text(struct writing *w, const char *bytes, size_t n, quire_error *err)
{
    quire_status status = mem_reserve(&w->text, &w->capacity, w->n + n + 1, 1, "a sample", err);
    if (status != QUIRE_OK)
        return status;
    if (n > 0)
        memcpy(w->text + w->n, bytes, n);
    w->n += n;
    w->text[w->n] = '\0';
    return QUIRE_OK;
}

static quire_status write_text(struct writing *w, const struct quire_training *t, quire_error *err)
{
    const char *bytes;
    size_t n;
    uint32_t n_most = t->config.sample_tokens;
    quire_status status = quire_book_read(w->book, w->ids, w->n_ids, n_most, err);
    for (uint32_t i = 0; i < n_most && status == QUIRE_OK; i++) {
        int32_t id = 0;
        status = training_check_cancelled(t, err);
        if (status == QUIRE_OK)
            status = quire_sampler_pick(w->sampler, quire_book_logits(w->book), &id, err);
        if (status != QUIRE_OK || id == quire_tokenizer_end_of_text(t->tokenizer))
            break;
        status = quire_decoder_feed(w->decoder, id, &bytes, &n, err);
        if (status == QUIRE_OK)
            status = add_text(w, bytes, n, err);
        if (status == QUIRE_OK)
            status = quire_book_append(w->book, id, err);
    }
    if (status == QUIRE_OK)
        status = quire_decoder_finish(w->decoder, &bytes, &n, err);
    return status == QUIRE_OK ? add_text(w, bytes, n, err) : status;
}

static void close_writing(struct writing *w)
{
    quire_book_close(w->book);
    quire_decoder_close(w->decoder);
    quire_sampler_close(w->sampler);
    quire_engine_close(w->engine);
    quire_model_close(w->model);
    free(w->ids);
    free(w->text);
}

/* A sample that cannot be written is not worth a run; only a cancelled one is an error. */
quire_status training_sample(struct quire_training *t, quire_error *err)
{
    struct writing w = {0};
    quire_error inner = {0};
    char *path = path_join(t->config.save_folder, TRAINING_SAMPLE, err);
    if (!path)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = training_write_model(t, path, QUIRE_DTYPE_BF16, true, &inner);
    if (status == QUIRE_OK)
        status = open_writing(&w, t, path, &inner);
    if (status == QUIRE_OK)
        status = write_text(&w, t, &inner);
    if (status == QUIRE_OK) {
        training_tell(
            t, (quire_training_event){.kind = QUIRE_TRAINING_SAMPLE, .name = t->config.sample_prompt, .text = w.text});
        training_log(t, "sample", json_pack("{s:s,s:s}", "prompt", t->config.sample_prompt, "text", w.text));
    } else if (status == QUIRE_ERR_CANCELLED) {
        quire_fail(err, status, "%s", inner.message);
    } else {
        training_notice(t, "no sample: %s", inner.message);
    }
    close_writing(&w);
    sys.unlink(path);
    free(path);
    return status == QUIRE_ERR_CANCELLED ? status : QUIRE_OK;
}
