#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/printable.h"
#include "model/model.h"
#include "model/source.h"
#include "model/weights.h"
#include "verify_job.h"

const char *quire_finding_kind_name(quire_finding_kind kind)
{
    static const char *const names[] = {[QUIRE_FINDING_REFUSED] = "refused",
                                        [QUIRE_FINDING_CHECKSUM] = "checksum",
                                        [QUIRE_FINDING_NUMBERS] = "numbers",
                                        [QUIRE_FINDING_UNUSED] = "unused",
                                        [QUIRE_FINDING_TOKENIZER] = "tokenizer"};
    return (size_t)kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

void verify_found(struct verify_job *job, quire_finding_kind kind, bool is_damage, const char *tensor,
                  const char *format, ...)
{
    char message[1100];
    va_list args;
    va_start(args, format);
    printable_vprint(message, sizeof message, format, args);
    va_end(args);
    if (is_damage)
        job->result.n_damaged++;
    else
        job->result.n_remarks++;
    quire_finding finding = {kind, is_damage, tensor, message};
    if (job->watch && job->watch->found)
        job->watch->found(job->watch->user, &finding);
}

static void on_problem(void *user, const char *message)
{
    verify_found(user, QUIRE_FINDING_REFUSED, true, NULL, "%s", message);
}

/* All that is wrong with a model that is refused for what is in its files; where that is nothing that can be listed,
 * why it was. */
static void report_refusal(struct verify_job *job, const char *path, const quire_error *why)
{
    if (why->status != QUIRE_ERR_FORMAT && why->status != QUIRE_ERR_UNSUPPORTED)
        return;
    model_report(path, on_problem, job);
    if (job->result.n_damaged == 0)
        on_problem(job, why->message);
}

quire_status verify_used(bool **out, const quire_model *model, quire_error *err)
{
    const struct tensors *tensors = &model->source->tensors;
    struct weight *weights = NULL;
    size_t n = 0;
    bool *is_used = mem_calloc(tensors->n, sizeof *is_used, "a list of tensors", err);
    quire_status status = is_used ? weights_list_of(&weights, &n, model, err) : QUIRE_ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        is_used[weights[i].tensor - tensors->items] = true;
    free(weights);
    if (status == QUIRE_OK)
        *out = is_used;
    else
        free(is_used);
    return status;
}

static quire_status report_unused(struct verify_job *job, const quire_model *model, quire_error *err)
{
    const struct tensors *tensors = &model->source->tensors;
    bool *is_used = NULL;
    quire_status status = verify_used(&is_used, model, err);
    for (size_t i = 0; i < tensors->n && status == QUIRE_OK; i++) {
        const char *name = tensors->items[i].name;
        struct printable shown = printable(name, strlen(name));
        const char *obstacle = tensors->items[i].obstacle;
        if (!is_used[i])
            verify_found(job, QUIRE_FINDING_UNUSED, false, shown.text, "tensor '%s' is no part of the model%s%s",
                         shown.text, obstacle ? ", and its data was not checked: it " : "", obstacle ? obstacle : "");
    }
    free(is_used);
    return status;
}

static quire_status check_tokenizer(struct verify_job *job, const quire_model *model, quire_error *err)
{
    quire_tokenizer *tokenizer = NULL;
    quire_error why = {0};
    quire_status status = quire_tokenizer_open(&tokenizer, model, &why);
    if (status == QUIRE_ERR_NO_MEMORY)
        return quire_fail(err, status, "%s", why.message);
    if (status != QUIRE_OK) {
        verify_found(job, QUIRE_FINDING_TOKENIZER, true, NULL, "%s", why.message);
        return QUIRE_OK;
    }
    status = verify_tokenizer(job, tokenizer, quire_model_config(model)->vocab_size, err);
    quire_tokenizer_close(tokenizer);
    return status;
}

quire_status quire_verify(const char *path, uint32_t n_threads, const quire_verify_watch *watch,
                          quire_verify_result *out, quire_error *err)
{
    struct verify_job job = {.watch = watch};
    quire_model *model = NULL;
    quire_error why = {0};
    quire_status status = quire_model_open(&model, path, &why);
    if (status != QUIRE_OK) {
        report_refusal(&job, path, &why);
        if (status == QUIRE_ERR_FORMAT || status == QUIRE_ERR_UNSUPPORTED)
            *out = job.result;
        return quire_fail(err, status, "%s", why.message);
    }
    status = verify_tensors(&job, model, n_threads, err);
    if (status == QUIRE_OK)
        status = report_unused(&job, model, err);
    if (status == QUIRE_OK)
        status = check_tokenizer(&job, model, err);
    quire_model_close(model);
    if (status == QUIRE_OK)
        *out = job.result;
    return status;
}
