// A GraphQL server with graphql-ws. Prints `listening PORT` when it accepts.
//
// `subscription { ticks }` counts up and says which replica it is; `mutation { slow }` never answers; `{ replica }` does.
import { createServer } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { GraphQLInt, GraphQLObjectType, GraphQLSchema, GraphQLString } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";

const replica = process.env.REPLICA ?? "graphql";

async function* ticks(_root, { from }) {
  for (let number = from; ; number += 1) {
    yield { ticks: `${replica} ${number}` };
    await pause(50);
  }
}

const object = (name, fields) => new GraphQLObjectType({ name, fields });
const schema = new GraphQLSchema({
  query: object("Query", { replica: { type: GraphQLString, resolve: () => replica } }),
  mutation: object("Mutation", { slow: { type: GraphQLString, resolve: () => new Promise(() => {}) } }),
  subscription: object("Subscription", {
    ticks: { type: GraphQLString, args: { from: { type: GraphQLInt, defaultValue: 0 } }, subscribe: ticks },
  }),
});
const http = createServer();
// Whoever does not say the token has no business here, and one that says it twice is closed with 4429.
useServer({ schema, onConnect: ({ connectionParams }) => connectionParams?.token === "t" }, new WebSocketServer({ server: http }));
http.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log("listening", http.address().port));
