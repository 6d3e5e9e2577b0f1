/* Optimisers over the weights of a net: Lion (Chen and others 2023), AdamW, and Muon for the matrices of blocks with
 * Lion for the rest, with the weight decay decoupled from the learning rate as MosaicML has it.
 *
 * With g the gradient, lr the rate of the step and wd the decay, for each number p:
 *     both    where the parameter decays: p *= 1 - lr / options.lr * wd
 *     Lion    p -= lr * sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g
 *     Muon    the same with a matrix's sign, of the same size (muon.h)
 *     AdamW   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
 *             p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps),  t counting steps from 1
 * Lion's and Muon's state is one float32 for each number, AdamW's two. */
#ifndef QUIRE_TRAIN_OPTIM_H
#define QUIRE_TRAIN_OPTIM_H

#include <stddef.h>
#include <stdint.h>

#include "net.h"

typedef enum optim_type { OPTIM_LION, OPTIM_ADAMW, OPTIM_MUON } optim_type;

struct optim_options {
    optim_type type;
    double lr; /* the highest of the schedule, to which the decay is relative; above 0 */
    double beta1, beta2;
    double eps; /* AdamW */
    double weight_decay;
};

/* The field's defaults: Lion lr 1e-4, betas 0.9, 0.99; AdamW lr 1e-3, betas 0.9, 0.95, eps 1e-8; Muon lr 1e-3, betas
 * 0.9, 0.95; no decay. */
struct optim_options optim_defaults(optim_type type);

/* Bytes of the state for a net so planned, and of what its steps need. */
uint64_t optim_memory(optim_type type, const struct net_memory *memory);

struct optim;

/* Zero state. net must outlive it. Errors: USAGE (a value out of range, named); NO_MEMORY. */
quire_status optim_open(struct optim **out, struct net *net, const struct optim_options *options, quire_error *err);
void optim_close(struct optim *optim); /* NULL is fine */

/* One step with the net's gradients, which stay as they are. lr: of this step. */
void optim_step(struct optim *optim, double lr);

/* The state, for checkpoints: arrays laid out as net_weights is, and the number of steps taken, which AdamW needs. */
struct optim_state {
    const char *name; /* "momentum", "variance"; static storage */
    float *data;
    size_t n;
};
size_t optim_states(struct optim *optim, struct optim_state states[2]); /* how many there are: 1 or 2 */
uint64_t optim_n_steps(const struct optim *optim);
void optim_set_n_steps(struct optim *optim, uint64_t n_steps);

/* The norm of all the net's gradients as one vector. Where it is above max_norm (0: no limit), the gradients are scaled
 * down to that; the norm before is returned. One that is not finite changes nothing. */
double optim_clip_gradients(struct optim *optim, double max_norm);

#endif
