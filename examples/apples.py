"""Backpropagation of two multiplications
=========================================

Two apples at 100 each and 10 percent tax: the price forward, and its derivatives backward.

This is the smallest example of backpropagation. A derivative of 2.2 with respect to the price of an apple means: if
an apple costs 1 more, the total is 2.2 more. (Deep Learning from Scratch, sections 5.1 to 5.4.)
"""

# sphinx_gallery_thumbnail_path = "thumbnails/apples.svg"
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
