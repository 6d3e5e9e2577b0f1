/* The forward and the backward pass. */
#include <math.h>

#include "net_block.h"
#include "net_head.h"
#include "net_rows.h"

static quire_status check_batch(const struct net *net, const struct net_batch *batch, quire_error *err)
{
    uint32_t vocab = net->config.vocab_size;
    if (batch->n_sequences == 0 || batch->n_sequences > net->options.n_sequences || batch->n_tokens == 0 ||
        batch->n_tokens > net->options.seq_len)
        return quire_fail(err, QUIRE_ERR_USAGE,
                          "a micro-batch of %u sequences of %u tokens, expected 1 to %u sequences of 1 to %u tokens",
                          batch->n_sequences, batch->n_tokens, net->options.n_sequences, net->options.seq_len);
    for (size_t i = 0; i < (size_t)batch->n_sequences * batch->n_tokens; i++) {
        uint32_t token = batch->tokens[i], target = batch->targets[i];
        if (token >= vocab || (target >= vocab && target != NET_IGNORE))
            return quire_fail(err, QUIRE_ERR_MISMATCH,
                              "%s %u of the micro-batch is %u, but the vocabulary has %u entries: the tokens are of "
                              "another tokenizer",
                              token >= vocab ? "token" : "target", (uint32_t)i, token >= vocab ? token : target, vocab);
    }
    return QUIRE_OK;
}

static void run_blocks(struct net *net, const struct net_batch *batch)
{
    uint32_t n_layers = net->config.n_layers;
    net_embed(net, batch, net->activations[0].x);
    for (uint32_t i = 0; i < n_layers; i++)
        net_block_forward(net, i, batch, &net->activations[i],
                          i + 1 < n_layers ? net->activations[i + 1].x : net->x_out);
}

quire_status net_forward(struct net *net, const struct net_batch *batch, struct net_loss *loss, float *nll,
                         quire_error *err)
{
    quire_status status = check_batch(net, batch, err);
    if (status != QUIRE_OK)
        return status;
    run_blocks(net, batch);
    *loss = net_head(net, batch, false, 0, nll);
    return QUIRE_OK;
}

quire_status net_backward(struct net *net, const struct net_batch *batch, double scale, struct net_loss *loss,
                          quire_error *err)
{
    quire_status status = check_batch(net, batch, err);
    if (status != QUIRE_OK)
        return status;
    run_blocks(net, batch);
    *loss = net_head(net, batch, true, scale, NULL);
    for (uint32_t i = net->config.n_layers; i-- > 0;) {
        if (net->options.recomputes && i + 1 < net->config.n_layers)
            net_block_forward(net, i, batch, &net->activations[i], net->x_out); /* nobody needs that one any more */
        net_block_backward(net, i, batch, &net->activations[i]);
    }
    net_embed_back(net, batch, net->scratch.dx);
    return QUIRE_OK;
}
