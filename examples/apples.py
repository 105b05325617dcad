"""Two apples
==========

Two apples at 100 each and 10 percent tax: the price forward, and its slope by each number backward.

The smallest backpropagation there is: two multiplications. A slope of 2.2 by the price of an apple means that
one more for an apple is 2.2 more to pay. (Deep Learning from Scratch, sections 5.1 to 5.4.)
"""

from xpnet import MulLayer

apple, number, tax = 100, 2, 1.1
apples_layer, tax_layer = MulLayer(), MulLayer()

# Forward: each layer keeps what it will need on the way back.
apples = apples_layer.forward(apple, number)
price = tax_layer.forward(apples, tax)

# Backward: the same layers in reverse, beginning with d(price)/d(price) = 1.
d_apples, d_tax = tax_layer.backward(1)
d_apple, d_number = apples_layer.backward(d_apples)

print(f"price                 {price}")
print(f"slope by apple        {d_apple}")
print(f"slope by number       {d_number}")
print(f"slope by tax          {d_tax}")

assert price == 220.00000000000003
assert (d_apple, d_number, d_tax) == (2.2, 110.00000000000001, 200)
