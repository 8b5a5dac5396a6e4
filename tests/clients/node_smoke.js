// What an application in Node does on its first day: CRUD, an index, a transaction, a change stream.
// Prints "ok" or fails with a stack. Usage: node node_smoke.js URI DATABASE

const assert = require('node:assert/strict')
const { MongoClient } = require('mongodb')

async function writeAndRead(orders) {
  await orders.insertMany([{ _id: 1, status: 'new', total: 5 }, { _id: 2, status: 'new', total: 7 }])
  const updated = await orders.updateOne({ _id: 1 }, { $set: { status: 'paid' } })
  assert.equal(updated.modifiedCount, 1)
  assert.deepEqual(await orders.find({ status: 'paid' }).toArray(), [{ _id: 1, status: 'paid', total: 5 }])
  const groups = await orders.aggregate([{ $group: { _id: null, sum: { $sum: '$total' } } }]).toArray()
  assert.deepEqual(groups, [{ _id: null, sum: 12 }])
  await orders.createIndex({ total: 1 }, { unique: true })
  await assert.rejects(orders.insertOne({ _id: 3, total: 7 }), { code: 11000 })
}

async function transfer(client, orders) {
  await client.withSession(session => session.withTransaction(async () => {
    await orders.updateOne({ _id: 1 }, { $inc: { total: 10 } }, { session })
    await orders.updateOne({ _id: 2 }, { $inc: { total: -1 } }, { session })
  }))
  assert.deepEqual((await orders.find().sort({ _id: 1 }).toArray()).map(order => order.total), [15, 6])
}

async function watch(orders) {
  const stream = orders.watch([{ $match: { operationType: 'update' } }], { fullDocument: 'updateLookup' })
  const next = stream.next()
  const writing = setInterval(() => orders.updateOne({ _id: 2 }, { $inc: { seen: 1 } }), 20)
  const event = await next
  clearInterval(writing)
  assert.equal(event.fullDocument.status, 'new')
  const resumed = orders.watch([], { resumeAfter: event._id })
  await orders.deleteOne({ _id: 2 })
  let kind
  do { kind = (await resumed.next()).operationType } while (kind === 'update')
  assert.equal(kind, 'delete')
  await Promise.all([stream.close(), resumed.close()])
}

async function main() {
  const client = new MongoClient(process.argv[2], { serverSelectionTimeoutMS: 10000 })
  const database = client.db(process.argv[3])
  const orders = database.collection('orders')
  try {
    await writeAndRead(orders)
    await transfer(client, orders)
    await watch(orders)
    const bulk = await client.bulkWrite([
      { name: 'insertOne', namespace: `${database.databaseName}.more`, document: { _id: 1 } },
      { name: 'deleteOne', namespace: `${database.databaseName}.orders`, filter: { _id: 1 } },
    ])
    assert.deepEqual([bulk.insertedCount, bulk.deletedCount], [1, 1])
  } finally {
    await database.dropDatabase()
    await client.close()
  }
  console.log('ok')
}

main().catch(error => { console.error(error); process.exit(1) })
