"""BERT's forward pass from any hidden states, example by example, real tokens only, by its own modules.

For oracles of methods that change states or layers: no hook, patch or batch of the harness takes part.
"""

import copy

import torch


class ManualBert:
    """A copy of a BERT classifier in float64, eval mode and with eager attention."""

    def __init__(self, model):
        self.model = copy.deepcopy(model).double().eval()
        self.model.set_attn_implementation("eager")
        self.layers = [self._layer(layer) for layer in self.model.bert.encoder.layer]

    @staticmethod
    def _layer(layer):
        def run(states):
            output = layer(states)
            return output if isinstance(output, torch.Tensor) else output[0]

        return run

    def embeddings(self, batch, i):
        """The embeddings [1, N, H] of example i."""
        length = int(batch["attention_mask"][i].sum())
        ids, types = (batch[name][i : i + 1, :length] for name in ("input_ids", "token_type_ids"))
        return self.model.bert.embeddings(input_ids=ids, token_type_ids=types)

    def states(self, embeddings):
        """The states after the embeddings and after each layer."""
        states = [embeddings]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states

    def logits(self, states):
        """The logits [C] from the last layer's states."""
        return self.model.classifier(self.model.bert.pooler(states))[0]

    def logits_of(self, embeddings):
        """The logits [C] from embeddings."""
        return self.logits(self.states(embeddings)[-1])
