/* Prompt formats.
 *
 * The words of the instruction and chat formats are those that the models were fine-tuned with; a model given other
 * words answers worse. Sources: MosaicML's Dolly preprocessing in llm-foundry (blank lines between the parts; the model
 * card shows single line ends, which is not what was trained) and its chat template. */
#include "quire/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const char INSTRUCT_HEAD[] =
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\n\n### Instruction:\n";
static const char INSTRUCT_RESPONSE[] = "\n\n### Response:\n";
static const char CHATML_SYSTEM[] =
    "system\nA conversation between a user and an LLM-based AI assistant. The assistant "
    "gives helpful and honest answers.";

/* What a model that follows requests is asked to do with the text before it. */
static const char *request(quire_task task, const char *text)
{
    switch (task) {
    case QUIRE_TASK_CONTINUE: return "Continue the text above from where it ends, in the same style.";
    case QUIRE_TASK_SUMMARIZE: return text ? text : "Write a summary of the text above.";
    case QUIRE_TASK_ASK: return text;
    }
    return "";
}

/* A sequence of ids being put together. The first error stays. */
struct pieces {
    const quire_tokenizer *tokenizer;
    int32_t *ids;
    size_t n_ids;
    size_t capacity;
    quire_status status;
    quire_error *err;
};

static void add_ids(struct pieces *p, const int32_t *ids, size_t n)
{
    if (p->status != QUIRE_OK || n == 0)
        return;
    p->status = mem_reserve(&p->ids, &p->capacity, p->n_ids + n, sizeof *ids, "a prompt", p->err);
    if (p->status != QUIRE_OK)
        return;
    memcpy(p->ids + p->n_ids, ids, n * sizeof *ids);
    p->n_ids += n;
}

/* Plain text, up to three parts that are encoded as one: no token of the template depends on where it was cut. */
static void add_text(struct pieces *p, const char *first, const char *second, const char *third)
{
    const char *parts[] = {first, second, third};
    quire_encoder *encoder = NULL;
    quire_ids ids;
    if (p->status != QUIRE_OK)
        return;
    p->status = quire_encoder_open(&encoder, p->tokenizer, false, p->err);
    for (size_t i = 0; i < 3 && p->status == QUIRE_OK; i++) {
        p->status = quire_encoder_feed(encoder, parts[i], strlen(parts[i]), &ids, p->err);
        if (p->status == QUIRE_OK)
            add_ids(p, ids.ids, ids.n_ids);
    }
    if (p->status == QUIRE_OK)
        p->status = quire_encoder_finish(encoder, &ids, p->err);
    if (p->status == QUIRE_OK)
        add_ids(p, ids.ids, ids.n_ids);
    quire_encoder_close(encoder);
}

static void make_plain(struct pieces *after, quire_task task, const char *text)
{
    switch (task) {
    case QUIRE_TASK_CONTINUE:
        if (text)
            add_text(after, "\n\n", text, "");
        break;
    case QUIRE_TASK_SUMMARIZE: add_text(after, "\n\n", text ? text : "Summary:", ""); break;
    case QUIRE_TASK_ASK: add_text(after, "\n\nQuestion: ", text, "\nAnswer:"); break;
    }
}

static void make_instruct(struct pieces *before, struct pieces *after, quire_task task, const char *text)
{
    add_text(before, INSTRUCT_HEAD, "", "");
    add_text(after, "\n\n", request(task, text), INSTRUCT_RESPONSE);
    if (task == QUIRE_TASK_CONTINUE && text)
        add_text(after, text, "", "");
}

static void make_chatml(struct pieces *before, struct pieces *after, int32_t start, int32_t end, quire_task task,
                        const char *text)
{
    add_ids(before, &start, 1);
    add_text(before, CHATML_SYSTEM, "", "");
    add_ids(before, &end, 1);
    add_text(before, "\n", "", "");
    add_ids(before, &start, 1);
    add_text(before, "user\n", "", "");

    add_text(after, "\n\n", request(task, text), "");
    add_ids(after, &end, 1);
    add_text(after, "\n", "", "");
    add_ids(after, &start, 1);
    add_text(after, "assistant\n", task == QUIRE_TASK_CONTINUE && text ? text : "", "");
}

quire_status quire_prompt_make(quire_prompt *out, const quire_tokenizer *tokenizer, quire_prompt_format format,
                               quire_task task, const char *text, quire_error *err)
{
    if (task == QUIRE_TASK_ASK && (!text || text[0] == '\0'))
        return quire_fail(err, QUIRE_ERR_USAGE, "the question is empty");

    struct pieces before = {.tokenizer = tokenizer, .err = err}, after = before;
    quire_prompt prompt = {0};
    int32_t end_of_text = quire_tokenizer_end_of_text(tokenizer);
    if (end_of_text >= 0)
        prompt.ends[prompt.n_ends++] = end_of_text;

    if (format == QUIRE_PROMPT_CHATML) {
        int32_t start = quire_tokenizer_find(tokenizer, "<|im_start|>");
        int32_t end = quire_tokenizer_find(tokenizer, "<|im_end|>");
        if (start < 0 || end < 0)
            return quire_fail(
                err, QUIRE_ERR_MISMATCH,
                "prompt format chatml needs the token '%s', which this vocabulary does not have; the model "
                "was trained for another format (plain or instruct)",
                start < 0 ? "<|im_start|>" : "<|im_end|>");
        prompt.ends[prompt.n_ends++] = end;
        make_chatml(&before, &after, start, end, task, text);
    } else if (format == QUIRE_PROMPT_INSTRUCT) {
        prompt.stop = "\n### Instruction:";
        make_instruct(&before, &after, task, text);
    } else {
        /* A base model goes on with the next question by itself. */
        prompt.stop = task == QUIRE_TASK_ASK ? "\nQuestion:" : NULL;
        make_plain(&after, task, text);
    }

    prompt.before = before.ids;
    prompt.n_before = before.n_ids;
    prompt.after = after.ids;
    prompt.n_after = after.n_ids;
    quire_status status = before.status != QUIRE_OK ? before.status : after.status;
    if (status != QUIRE_OK)
        quire_prompt_release(&prompt);
    else
        *out = prompt;
    return status;
}

void quire_prompt_release(quire_prompt *prompt)
{
    if (!prompt)
        return;
    free(prompt->before);
    free(prompt->after);
    *prompt = (quire_prompt){0};
}
