#include "pretokenize.h"

#include "code_point.h"
#include "unicode.h"

void pretokenizer_init(struct pretokenizer *p, const uint8_t *unicode)
{
    *p = (struct pretokenizer){.unicode = unicode, .state = WORD_START};
}

void pretokenizer_release(struct pretokenizer *p)
{
    buffer_release(&p->text);
}

void pretokenizer_reset(struct pretokenizer *p)
{
    p->text.n = p->start = p->at = p->last = 0;
    p->state = WORD_START;
}

quire_status pretokenizer_feed(struct pretokenizer *p, const uint8_t *text, size_t n, quire_error *err)
{
    if (p->start > 0) {
        p->text.n -= p->start;
        p->at -= p->start;
        p->last -= size_min(p->last, p->start);
        memmove(p->text.bytes, p->text.bytes + p->start, p->text.n);
        p->start = 0;
    }
    return buffer_append(&p->text, text, n, err);
}

static enum unicode_class class_at(const struct pretokenizer *p, size_t *length)
{
    const uint8_t *c = p->text.bytes + p->at;
    if (*c < 0x80) {
        *length = 1;
        return (enum unicode_class)(p->unicode[*c] & UNICODE_CLASS_MASK);
    }
    return (enum unicode_class)(p->unicode[code_point_read(c, length)] & UNICODE_CLASS_MASK);
}

static void skip_class(struct pretokenizer *p, enum unicode_class class)
{
    size_t length;
    for (; p->at < p->text.n && class_at(p, &length) == class; p->at += length)
        p->last = p->at;
}

static enum pretokenizer_state run_state(enum unicode_class class)
{
    return (enum pretokenizer_state)(WORD_LETTERS + (int)class);
}

static enum unicode_class run_class(enum pretokenizer_state state)
{
    return (enum unicode_class)((int)state - WORD_LETTERS);
}

static bool give(struct pretokenizer *p, size_t end, enum pretokenizer_state next, const uint8_t **word, size_t *n)
{
    *word = p->text.bytes + p->start;
    *n = end - p->start;
    p->start = end;
    p->state = next;
    return true;
}

bool pretokenizer_next(struct pretokenizer *p, bool is_end, const uint8_t **word, size_t *n)
{
    const uint8_t *text = p->text.bytes;
    size_t length;
    while (p->at < p->text.n) {
        switch (p->state) {
        case WORD_START:
            p->last = p->at;
            p->state = text[p->at] == '\'' ? WORD_APOSTROPHE : run_state(class_at(p, &length));
            p->at += code_point_length(text[p->at]);
            break;
        case WORD_LETTERS:
        case WORD_NUMBERS:
        case WORD_OTHERS:
            skip_class(p, run_class(p->state));
            if (p->at < p->text.n)
                return give(p, p->at, WORD_START, word, n);
            break;
        case WORD_SPACES:
            skip_class(p, UNICODE_SPACE);
            if (p->at == p->text.n)
                break;
            /* Something follows: `\s+(?!\S)` leaves the last one, which goes to that when it is U+0020. */
            if (p->last > p->start)
                return give(p, p->last, WORD_SPACES, word, n);
            if (text[p->last] != ' ')
                return give(p, p->at, WORD_START, word, n);
            p->state = run_state(class_at(p, &length));
            p->at += length;
            break;
        case WORD_APOSTROPHE:
            switch (text[p->at]) {
            case 's':
            case 't':
            case 'm':
            case 'd': p->at++; return give(p, p->at, WORD_START, word, n);
            case 'r':
            case 'v':
            case 'l':
                p->at++;
                p->state = WORD_APOSTROPHE_LETTER;
                break;
            default: p->state = WORD_OTHERS; break;
            }
            break;
        case WORD_APOSTROPHE_LETTER:
            if (text[p->at] == (text[p->at - 1] == 'l' ? 'l' : 'e')) {
                p->at++;
                return give(p, p->at, WORD_START, word, n);
            }
            return give(p, p->start + 1, WORD_LETTERS, word, n);
        }
    }
    if (!is_end)
        return false;
    if (p->start < p->text.n)
        return p->state == WORD_APOSTROPHE_LETTER ? give(p, p->start + 1, WORD_LETTERS, word, n)
                                                  : give(p, p->text.n, WORD_START, word, n);
    pretokenizer_reset(p);
    return false;
}
